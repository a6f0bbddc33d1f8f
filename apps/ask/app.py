"A page that classifies images: python apps/ask/app.py models/pets"
import sys
from quickcls.demo import ask_page, launch

if len(sys.argv) != 2: sys.exit(__doc__)
launch(ask_page(sys.argv[1]))
