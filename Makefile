# `make demo` and `make test` work on a fresh clone with nothing but Python 3.10 to 3.13; PYTHON names another one.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-slow bench docs figures notebooks tutorial clean

demo: .venv/installed
	$(BIN)/quickcls train datasets/parts --arch efficientnet_lite0 --force
	$(BIN)/quickcls predict models/parts docs/parts/defect.jpg

test: .venv/installed-dev
	$(BIN)/nbdev-test --n-workers 2
	$(BIN)/pytest -n 2 --dist loadfile -m 'not slow'

# What is rare and takes long: further networks exported, notebooks executed, hostile files by the dozen
test-slow: .venv/installed-dev
	$(BIN)/pytest -n 2 --dist load -m slow

bench: .venv/installed-dev
	$(BIN)/python -m tests.benchmarks

# The site, in site/index.html
docs: .venv/installed-docs
	$(BIN)/python docs/make.py
	$(BIN)/python docs/layout.py
	$(BIN)/python docs/pages.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict -f build/mkdocs.yml

# The images of the documentation, drawn again; needs chromium
figures: .venv/installed-dev .venv/installed-docs
	$(BIN)/python docs/make.py figures
	$(BIN)/python docs/film.py

notebooks: .venv/installed-dev
	$(BIN)/python nbs/datasets/make.py

tutorial: .venv/installed-dev
	$(BIN)/python nbs/tutorial/make.py

clean:
	rm -rf .venv models build site *.egg-info

.venv/installed: settings.ini setup.py pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

.venv/installed-docs: .venv/installed
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	touch $@
