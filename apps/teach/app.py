"A page that classifies images and learns from corrections: python apps/teach/app.py models/pets corrections"
import sys
from quickcls.demo import Classifier, Teacher, ask_page, launch

if len(sys.argv) != 3: sys.exit(__doc__)
model, corrections = sys.argv[1:]
clf = Classifier.load(model)
launch(ask_page(clf, teacher=Teacher.of(clf, corrections)), host='127.0.0.1') # on this machine only: every visitor can teach it
