"""What an image costs past one machine: `python -m tests.benchmarks.many_machines FOLDER [--ray]`, for docs/many_machines.md

CPU time of this process and its decoders, so that other work counts little; with `--ray`, seconds with one and with two actors."""
import argparse, os, shutil, tempfile, time
import numpy as np

def cpu_seconds():
    "Of this process and of those that it started"
    import psutil
    me = psutil.Process()
    return sum(sum(p.cpu_times()[:2]) for p in (me, *me.children(recursive=True)))

class Nothing:
    "A network that costs nothing"
    precision = 'f32'
    def __init__(self, dim): self.dim = dim
    def start(self, batch, done): done(np.zeros((len(batch), self.dim), np.float32))
    def wait(self): pass

def per_image(folder, graphs, most):
    "CPU time and bytes of an image"
    from quickcls.shards.embedder import Embedder
    from quickcls.shards.manifest import Shard, list_images, place_of, write_manifest
    from quickcls.shards.parts import write_part
    place, dim = place_of(folder), graphs[0].dim
    start = time.process_time()
    listed = list(list_images(place))
    print(f'list: {(time.process_time() - start)/len(listed)*1e6:.0f} µs a file ({len(listed):,} files)')
    rows = listed[:most]
    for name, engines in (('read and decode', [Nothing(dim)]), ('all', None)):
        embedder = Embedder(place, graphs, engines=engines, threads=2)
        embedder(rows[:16])
        start = cpu_seconds()
        done = embedder(rows)
        print(f'{name}: {(cpu_seconds() - start)/len(rows)*1e3:.1f} ms of a core')
    with tempfile.TemporaryDirectory() as d:
        out = place_of(d)
        part = write_part(done, dim, out, Shard())
        write_manifest(listed, place.root, out)
        image, row = sum(r['size'] for r in rows)/len(rows), os.path.getsize(out.at(part))/len(done)
        manifest = os.path.getsize(out.at('manifest.parquet'))/len(listed)
        print(f'image: {image/1e3:.0f} kB; part: {row/1e3:.1f} kB a row; manifest: {manifest:.0f} bytes a row')

def on_ray(folder, graphs):
    "Seconds of a whole job with one and two actors of one CPU each, and of the local code with one thread, in turn"
    import ray
    from quickcls.shards.cluster import embed_on_cluster
    from quickcls.shards.command import embed_shard
    from quickcls.shards.embedder import Embedder
    from quickcls.shards.manifest import Shard, get_manifest, place_of
    temp = tempfile.mkdtemp(prefix='qb')
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False, logging_level='ERROR', object_store_memory=10**8, _temp_dir=temp)
    for _ in range(2):
        for workers in (1, 2, 0):
            with tempfile.TemporaryDirectory() as d:
                place, out, start = place_of(folder), place_of(d), time.perf_counter()
                quiet = dict(say=lambda text: None)
                if workers: embed_on_cluster(place, out, graphs, workers=workers, cpus=1, **quiet)
                else: embed_shard(get_manifest(place, out, **quiet), Embedder(place, graphs, threads=1), out, Shard())
                print(f'{f"{workers} actors" if workers else "no Ray, one thread"}: {time.perf_counter() - start:.1f} s')
    ray.shutdown()
    shutil.rmtree(temp, ignore_errors=True)

if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folder')
    parser.add_argument('--ray', action='store_true')
    parser.add_argument('--images', type=int, default=120)
    args = parser.parse_args()
    from quickcls.shards.command import graphs_for
    graphs = graphs_for('efficientnet_lite0', offline=True)
    (on_ray(args.folder, graphs) if args.ray else per_image(args.folder, graphs, args.images))
