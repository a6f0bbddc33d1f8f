"Folders of coloured noise: each class has a pattern of its own, and its images differ from it"
import sys
from pathlib import Path
import numpy as np
from PIL import Image

def write_noise(
    folder, # New; one folder a class is made in it
    classes:int, each:int, # How many, and images of each
    side:int=32 # Pixels
)->Path:
    "Images for measuring time and memory; the accuracy on them means nothing"
    rng, folder = np.random.default_rng(0), Path(folder)
    for c in range(classes):
        own = folder/f'class{c:05}'
        own.mkdir(parents=True)
        pattern = rng.integers(0, 256, (4, 4, 3))
        for i in range(each):
            small = np.clip(pattern + rng.normal(0, 50, (4, 4, 3)), 0, 255).astype(np.uint8)
            large = np.asarray(Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)).astype(int)
            grain = rng.integers(-10, 10, large.shape)
            Image.fromarray(np.clip(large + grain, 0, 255).astype(np.uint8)).save(own/f'{i:05}.png', compress_level=1)
    return folder

if __name__ == '__main__': write_noise(sys.argv[1], *map(int, sys.argv[2:]))
