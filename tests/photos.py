"""The photographs that tests read: one list, a line a set

None of them is part of this project. Put each set into a folder of its name, name the folder above them in QUICKCLS_PHOTOS, and the tests that read them run;
where a set is absent, they skip. `python -m tests.photos` compares what is there with `photos.csv`.
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

if __name__ == '__main__':
    for name, line in listed().items():
        if not (folder/name).is_dir():
            print(f'{name}: absent; {line["source"]}')
        else:
            print(
                f'{name}: {"as listed" if found(folder / name) == (int(line["files"]), line["sha256"]) else f"not as listed: {found(folder / name)}"}'
            )
