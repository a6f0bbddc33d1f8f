"""The networks of `quickcls compare --preset backbones` side by side: what an image costs in each.

    python -m tests.benchmarks.candidates [NAME …]   # a table

Weights that are not on this machine are random: speed, agreement with torch and size do not depend on them, accuracy does, so none
is measured here. `f32` and `bf16` are images per second of processor time, `cost` is the processor time of an image beside one in the
first network, measured just before."""
import sys
from quickcls.backbones.engines import open_engine
from quickcls.backbones.registry import candidates, licence_of, parse_views
from quickcls.backbones.weights import local_weights
from tests.benchmarks.limit import graph_of
from tests.benchmarks.precisions import rates

def opened(name, precisions=('f32', 'bf16')):
    "(view, graph, engines by precision) of a network"
    view, = parse_views(name)
    graph = graph_of(view, ())
    return view, graph, {p: open_engine(graph, device='cpu', precision=p) for p in precisions}

def main(names):
    import pandas as pd
    rows, (usual, _, its) = [], opened(candidates[0], ['f32'])
    for name in names:
        view, graph, engines = opened(name)
        beside, found, b = rates(its, usual)['f32'], rates(engines, view), view.backbone
        rows.append(dict(name=name, pixels=view.size, params_m=b.params, top1=b.top1, licence=licence_of(b), numbers=graph.dim,
                         mb=round(graph.path.stat().st_size/1e6, 1), weights='real' if local_weights(b) else 'random', cosine=graph.cosine,
                         f32=round(found['f32'], 1), bf16=round(found['bf16'], 1), cost=round(beside/found['f32'], 2)))
        print(*rows[-1].values(), file=sys.stderr, flush=True)
    print(pd.DataFrame(rows).to_string(index=False))

if __name__ == '__main__': main(sys.argv[1:] or candidates)
