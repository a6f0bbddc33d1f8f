"Hands the metadata of settings.ini to setuptools: the one place for them; pyproject.toml names what is dynamic."
from configparser import ConfigParser
from pathlib import Path
from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

root = Path(__file__).parent

class WithCards(build_py):
    "Puts the cards of the data sets into the package: an installed quickcls has no folder `datasets` beside it"
    def run(self):
        super().run()
        if self.editable_mode: return
        to = Path(self.build_lib)/'quickcls'/'templates'/'datasets'
        to.mkdir(parents=True, exist_ok=True)
        for card in root.glob('datasets/*/README.md'): (to/f'{card.parent.name}.md').write_bytes(card.read_bytes())

ini = ConfigParser(delimiters=['='])
ini.read(root/'settings.ini', encoding='utf-8')
cfg = ini['DEFAULT']

setup(cmdclass=dict(build_py=WithCards), name=cfg['lib_name'], version=cfg['version'], description=cfg['description'], keywords=cfg['keywords'].split(),
    author=cfg['author'], license=cfg['license'], python_requires=f">={cfg['min_python']}",
    long_description=(root/'README.md').read_text(encoding='utf-8'), long_description_content_type='text/markdown',
    classifiers=['Programming Language :: Python :: 3', 'Intended Audience :: Developers', 'Topic :: Scientific/Engineering :: Image Recognition'],
    packages=[*find_packages(include=[f"{cfg['lib_name']}*"]), f"{cfg['lib_name']}.templates"], package_data={f"{cfg['lib_name']}.templates": ['*', 'texts/*']}, install_requires=cfg['requirements'].split(),
    extras_require={k.removesuffix('_requirements'): v.split() for k, v in cfg.items() if k.endswith('_requirements')},
    entry_points=dict(console_scripts=cfg['console_scripts'].split(), nbdev=['quickcls=quickcls._modidx:d']))
