"""What fastai does for one prediction.

    python fastai_predict.py export FOLDER LEARNER.pkl     # an untrained learner: its time to answer is that of a trained one
    python fastai_predict.py predict LEARNER.pkl PHOTO"""
import sys
from fastai.vision.all import ImageDataLoaders, Resize, load_learner, vision_learner

def export(folder, path):
    "A `vision_learner` around EfficientNet-Lite0, exported as fastai does it"
    dls = ImageDataLoaders.from_folder(folder, valid_pct=.3, seed=42, item_tfms=Resize(224), num_workers=0)
    vision_learner(dls, 'tf_efficientnet_lite0', pretrained=False).export(path)

if __name__ == '__main__': export(*sys.argv[2:]) if sys.argv[1] == 'export' else print(load_learner(sys.argv[2]).predict(sys.argv[3])[0])
