"A cluster of Ray: two machines, an S3 store, a worker that is killed in the middle"
import json, os, shutil
import numpy as np
import pytest
from tests.helpers import as_bytes, halves, some_parts, with_orientation

pytestmark = pytest.mark.slow
ray, moto = pytest.importorskip('ray'), pytest.importorskip('moto')
pytest.importorskip('ray.data')
pytest.importorskip('s3fs')
from quickcls.core import QuickclsError
from quickcls.shards.manifest import place_of
from quickcls.shards.parts import read_embeddings, read_parts

@pytest.fixture(scope='module')
def store():
    "Environment of an S3 server on this machine, with an empty bucket; the variables stay set for the module"
    import s3fs
    from moto.server import ThreadedMotoServer
    server = ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    env = dict(AWS_ENDPOINT_URL=f'http://{host}:{port}', AWS_DEFAULT_REGION='us-east-1')
    env |= dict(AWS_ACCESS_KEY_ID='test', AWS_SECRET_ACCESS_KEY='test')
    with pytest.MonkeyPatch.context() as m:
        for k, v in env.items(): m.setenv(k, v)
        s3 = s3fs.S3FileSystem()
        s3.mkdir('bucket')
        yield s3
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()

@pytest.fixture(scope='module')
def two_nodes(store, cache):
    "A cluster of two machines, that are processes here; its folder is short, since paths of sockets are"
    import tempfile
    from ray.cluster_utils import Cluster
    temp = tempfile.mkdtemp(prefix='qr')
    node = dict(object_store_memory=10**8, include_dashboard=False)
    c = Cluster(initialize_head=True, head_node_args=dict(node, num_cpus=1, temp_dir=temp), shutdown_at_exit=False)
    try:
        c.add_node(**dict(node, num_cpus=2, temp_dir=temp))
        ray.init(address=c.address, log_to_driver=False, logging_level='ERROR')
        yield temp
    finally:
        ray.shutdown()
        c.shutdown()
        shutil.rmtree(temp, ignore_errors=True)

def dying(actor, mark):
    "An actor of which the first one to work is killed in the middle of its rows, as by `kill -9`"
    import signal
    class Dying(actor):
        def __call__(self, table):
            first = super().__call__(table.slice(0, 8))
            if not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            rest = super().__call__(table.slice(8))
            return type(table).from_batches([*first.to_batches(), *rest.to_batches()])
    return Dying

def test_a_bucket_becomes_a_classifier_though_a_worker_is_killed(store, two_nodes, quickcls, tmp_path, monkeypatch):
    "Each id once, embeddings as this machine gives them, bad files with a reason; then answers, again by the cluster"
    from quickcls.shards import cluster
    photos = some_parts(tmp_path/'photos', slice(0, 60))
    (photos/'ok'/'web.webp').write_bytes(as_bytes(halves('red', 'blue'), 'WEBP'))
    (photos/'ok'/'turned.jpg').write_bytes(as_bytes(halves('red', 'blue', size=60), exif=with_orientation(6)))
    (photos/'ok'/'half.jpg').write_bytes((photos/'ok'/'turned.jpg').read_bytes()[:200])
    (photos/'defect'/'page.jpg').write_bytes(b'<html>Not found</html>')
    store.put(str(photos), 'bucket/photos', recursive=True)
    monkeypatch.setattr(cluster, 'EmbedRows', dying(cluster.EmbedRows, tmp_path/'killed'))
    p = quickcls('train', 's3://bucket/photos', '--engine', 'ray', '--embeddings', 's3://bucket/parts', '--arch', 'efficientnet_lite0',
                 '--offline', '--out', tmp_path/'clf')
    assert p.returncode == 0, p.stderr
    assert (tmp_path/'killed').exists()

    found = read_parts(place_of('s3://bucket/parts'))
    assert len(found.rows) == found.rows.id.nunique() == 124 and len(found.good) == 122
    assert sorted(found.rows[found.rows.reason.notna()].path) == ['defect/page.jpg', 'ok/half.jpg']
    assert quickcls('embed', photos, '--out', tmp_path/'parts', '--arch', 'efficientnet_lite0', '--offline').returncode == 0
    here = read_parts(place_of(tmp_path/'parts'))
    x, own = (dict(zip(f.good.digest, np.asarray(read_embeddings(f)))) for f in (found, here))
    assert x.keys() == own.keys()
    assert max(np.linalg.norm(x[h] - own[h])/np.linalg.norm(own[h]) for h in x) < 1e-3

    quickcls('train', photos, '--embeddings', tmp_path/'parts', '--offline', '--out', tmp_path/'own')
    a, b = (json.loads((tmp_path/n/'metrics.json').read_text()) for n in ('clf', 'own'))
    assert a['data']['fingerprint'] == b['data']['fingerprint'] and a['accuracy'] == pytest.approx(b['accuracy'], abs=.02)

    p = quickcls('predict', tmp_path/'clf', 's3://bucket/photos', '--engine', 'ray', '--out', tmp_path/'answers')
    assert p.returncode == 1 and '2 could not be read' in p.stdout, p.stderr
    from quickcls.model.classifier import Classifier
    from quickcls.shards.answers import read_answers
    t = read_answers(place_of(tmp_path/'answers'))
    assert len(t) == t.id.nunique() == 124 and sorted(t.path[t.reason.notna()]) == ['defect/page.jpg', 'ok/half.jpg']
    some = t[t.reason.isna()].sample(10, random_state=0)
    alone = Classifier.load(tmp_path/'clf').predict([photos/n for n in some.path])
    assert some.answer.tolist() == [p.answer for p in alone]
    assert max(abs(row[f'p_{p.label}'] - p.top[0]['probability']) for (_, row), p in zip(some.iterrows(), alone)) < 1e-3

def test_a_second_run_does_what_is_new(store, two_nodes, quickcls, tmp_path):
    "And nothing else; a folder of other embeddings is refused"
    photos = some_parts(tmp_path/'photos', slice(0, 8))
    words = ['train', photos, '--engine', 'ray', '--embeddings', tmp_path/'parts', '--offline', '--folds', '0']
    assert quickcls(*words, '--arch', 'efficientnet_lite0', '--out', tmp_path/'a').returncode == 0
    files = {f.name for f in (tmp_path/'parts').glob('*.parquet')}
    assert quickcls(*words, '--arch', 'efficientnet_lite0', '--out', tmp_path/'b').returncode == 0
    assert {f.name for f in (tmp_path/'parts').glob('*.parquet')} == files
    p = quickcls(*words, '--arch', 'efficientnet_lite0@256', '--out', tmp_path/'c')
    assert p.returncode == 1 and 'holds embeddings by efficientnet_lite0@224' in p.stderr and 'Traceback' not in p.stderr

def test_a_job_that_was_stopped_goes_on(store, two_nodes, tmp_path, monkeypatch):
    "What the checkpoint of Ray has is not done again"
    from quickcls.shards import cluster
    from quickcls.shards.command import graphs_for
    from quickcls.shards.manifest import get_manifest, list_images
    photos, out = place_of(some_parts(tmp_path/'photos', slice(0, 40))), place_of(tmp_path/'parts')
    graphs = graphs_for('efficientnet_lite0', offline=True, say=lambda text: None)
    seen, run = [], cluster.run_rows
    def stopped(ray, actor, kwargs, rows, n, out, **how):
        "The first run ends after a half of the rows: as if it was stopped then, its checkpoint is still there"
        import pyarrow as pa, pyarrow.parquet as pq
        seen.append(n)
        half = pq.read_table(rows).slice(0, n//2)
        pq.write_table(half, tmp_path/'half.parquet')
        keep = ray.data.checkpoint.CheckpointConfig
        monkeypatch.setattr(ray.data.checkpoint, 'CheckpointConfig', lambda **kw: keep(**kw, delete_checkpoint_on_success=False))
        run(ray, actor, kwargs, str(tmp_path/'half.parquet'), n//2, out, **how)
        monkeypatch.setattr(ray.data.checkpoint, 'CheckpointConfig', keep)
        raise KeyboardInterrupt
    monkeypatch.setattr(cluster, 'run_rows', stopped)
    with pytest.raises(KeyboardInterrupt): cluster.embed_on_cluster(photos, out, graphs, say=seen.append)
    first = read_parts(out)
    assert len(first.rows) == 40 and any(p.name.startswith('checkpoint-') for p in out.folder.iterdir())
    monkeypatch.setattr(cluster, 'run_rows', run)
    cluster.embed_on_cluster(photos, out, graphs, say=seen.append)
    found = read_parts(out)
    assert len(found.rows) == 80 and found.twice == 0 and set(first.files) < set(found.files)

@pytest.fixture
def cluster_elsewhere():
    "The address of a cluster that another process started, and that ends with the test"
    import signal, socket, subprocess, sys, tempfile, time
    def free():
        with socket.socket() as s:
            s.bind(('127.0.0.1', 0))
            return s.getsockname()[1]
    temp, port = tempfile.mkdtemp(prefix='qr'), free()
    command = [sys.executable, '-m', 'ray.scripts.scripts', 'start', '--head', '--block', '--num-cpus', '3', '--include-dashboard=false',
               '--port', str(free()), '--ray-client-server-port', str(port), '--temp-dir', temp, '--object-store-memory', '100000000']
    head = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        for _ in range(600):
            with socket.socket() as s:
                if s.connect_ex(('127.0.0.1', port)) == 0: break
            assert head.poll() is None, 'the cluster did not start'
            time.sleep(.2)
        else: pytest.fail('the cluster does not answer')
        yield f'ray://127.0.0.1:{port}'
    finally:
        os.killpg(head.pid, signal.SIGTERM)
        head.wait(60)
        shutil.rmtree(temp, ignore_errors=True)

def test_a_cluster_elsewhere(cluster_elsewhere, quickcls_process, tmp_path):
    "`--engine ray://HOST:PORT`: the cluster does the work, and this program is only its client"
    images, own = some_parts(tmp_path/'parts', slice(12)), ('--arch', 'efficientnet_lite0', '--offline', '--folds', '0')
    done = quickcls_process('train', images, '--engine', cluster_elsewhere, '--embeddings', tmp_path/'e', '--out', tmp_path/'m', *own)
    assert done.returncode == 0, done.stderr
    parts = read_parts(place_of(str(tmp_path/'e')))
    assert len(parts.rows) == 24 and parts.rows.id.is_unique
    done = quickcls_process('predict', tmp_path/'m', images, '--engine', cluster_elsewhere, '--out', tmp_path/'answers')
    assert done.returncode == 0 and '24 images' in done.stdout, done.stderr

def test_engines_that_are_none(tmp_path):
    "What was expected, before any work"
    from quickcls.predict.command import predict
    from quickcls.shards.cluster import cluster
    with pytest.raises(QuickclsError, match='Expected ray'), cluster('spark'): pass
    with pytest.raises(QuickclsError, match='out is for'): predict('model', 'photos', out=str(tmp_path))
    with pytest.raises(QuickclsError, match='for the answers'): predict('model', 'photos', engine='ray')
    with pytest.raises(QuickclsError, match='no other option'): predict('model', 'photos', engine='ray', out=str(tmp_path), csv='a.csv')

def test_ray_tells_nobody_about_the_work(monkeypatch):
    "Unless the user allows it"
    from ray._common.usage.usage_lib import usage_stats_enabled
    from quickcls.shards.cluster import import_ray
    monkeypatch.delenv('RAY_USAGE_STATS_ENABLED', raising=False)
    import_ray()
    assert not usage_stats_enabled()
    monkeypatch.setenv('RAY_USAGE_STATS_ENABLED', '1')
    import_ray()
    assert usage_stats_enabled()
