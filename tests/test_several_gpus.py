"Fine-tuning by several processes: the command of docs/many_machines.md, with two processes on the CPU in place of GPUs"
import os, subprocess, sys
import pytest
from tests.helpers import repo, some_parts

@pytest.mark.slow
def test_two_processes_tune_one_network(tmp_path, cache):
    "Each has its share, both end with the same network, one saves it"
    pytest.importorskip('accelerate')
    photos = some_parts(tmp_path/'photos', slice(0, 12))
    env = dict(os.environ, ACCELERATE_USE_CPU='true', PYTHONPATH=os.pathsep.join([str(repo), os.environ.get('PYTHONPATH', '')]))
    words = ['-m', 'accelerate.commands.launch', '--multi_gpu', '--num_processes', '2', '--num_machines', '1', '--mixed_precision', 'no']
    words += ['--dynamo_backend', 'no', '--main_process_port', '0']
    call = [sys.executable, *words, str(repo/'docs'/'finetune.py'), str(photos), 'efficientnet_lite0', str(tmp_path/'clf'), '1']
    p = subprocess.run(call, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert p.returncode == 0, p.stderr[-2000:]
    assert 'process 1 of 2 is done' in p.stdout and 'process 2 of 2 is done' in p.stdout
    from quickcls.model.classifier import Classifier
    clf = Classifier.load(tmp_path/'clf')
    assert clf.vocab == ['defect', 'ok'] and clf.predict(repo/'docs'/'parts'/'defect.jpg').label in clf.vocab
