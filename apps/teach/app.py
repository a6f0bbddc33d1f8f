"Ask a classifier, tell it where it is wrong, and ask again: python apps/teach/app.py models/pets corrections"
import sys
from quickcls.demo import Classifier, Teacher, ask_page, launch

if len(sys.argv) != 3: sys.exit(__doc__)
model, corrections = sys.argv[1:]
clf = Classifier.load(model)
launch(ask_page(clf, teacher=Teacher.of(clf, corrections)), host='127.0.0.1') # whoever can open it can teach it
