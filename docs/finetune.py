"""Fine-tune a network on several GPUs: `accelerate launch --num_processes 4 docs/finetune.py photos/ resnet34 models/photos`

Each process has its GPU and its share of every epoch; the first one saves the classifier. Needs `pip install accelerate`.
"""
import sys
import torch
from fastai.callback.schedule import fit_one_cycle
from fastai.distributed import DistributedDL, num_distrib, rank_distrib
from quickcls.all import Classifier, quick_learner

def main(
    folder, # Labelled images
    arch, # Of the network, as in `train`
    out, # Folder for the classifier
    epochs='3'
):
    if not torch.cuda.is_available(): DistributedDL._broadcast = broadcast_on_cpu
    learn = quick_learner(folder, arch, strategy='full', bs=16) # images a process and step
    with learn.distrib_ctx(sync_bn=torch.cuda.is_available()):
        learn.fit_one_cycle(int(epochs), 1e-4)
        print(f'process {rank_distrib() + 1} of {num_distrib()} is done')
    if rank_distrib() == 0: Classifier.from_learner(learn).save(out)

def broadcast_on_cpu(self, order, rank):
    "fastai sends the order of the images through a GPU; without one, gloo takes it from memory"
    order = torch.LongTensor(order)
    torch.distributed.broadcast(order, rank)
    return order.tolist()

if __name__ == '__main__': main(*sys.argv[1:])
