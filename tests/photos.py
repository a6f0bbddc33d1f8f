"""The photographs that tests read: one list, a line a set

None of them is part of this project. Put each set into a folder of its name, and name the folder above them in QUICKCLS_PHOTOS: then the
tests that read them run. Where a set is absent, they skip. `python -m tests.photos` compares what is there with `photos.csv`.
"""

import csv, hashlib, os
from pathlib import Path

here = Path(__file__).parent
folder = Path(os.environ.get('QUICKCLS_PHOTOS', here/'..'/'..'/'shared'/'data'))

def listed()->dict: # Name of a set → its line: `files`, `sha256`, `source`
    "What `photos.csv` says"
    with open(here/'photos.csv', newline='', encoding='utf-8') as f: return {line['name']: line for line in csv.DictReader(f)}

def found(root:Path)->tuple: # (number of files, SHA-256 over their names and contents)
    "What stands in a folder"
    files = sorted(p for p in root.rglob('*') if p.is_file())
    lines = [f'{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(root).as_posix()}\n' for p in files]
    return len(files), hashlib.sha256(''.join(lines).encode()).hexdigest()

def state(name:str, line:dict)->str:
    "Is a set here, and is it the listed one?"
    if not (folder/name).is_dir(): return f'absent; {line["source"]}'
    files, digest = found(folder/name)
    return 'as listed' if (files, digest) == (int(line['files']), line['sha256']) else f'not as listed: {files} files, {digest}'

if __name__ == '__main__':
    for name, line in listed().items(): print(f'{name}: {state(name, line)}')
