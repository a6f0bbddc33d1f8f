"A page that shows the answers of several classifiers for the same image: python apps/compare/app.py models/pets models/pets2"
import sys
from quickcls.demo import compare_page, launch

if len(sys.argv) < 3: sys.exit(__doc__)
launch(compare_page(*sys.argv[1:]))
