"""What the benchmarks of the page share: a server as a process of its own, its API as a program uses it, many clients at once"""
import asyncio, io, itertools, json, os, random, shutil, signal, socket, statistics, subprocess, sys, tempfile, time
from pathlib import Path
import httpx

def free_port()->int:
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def family(pid)->list:
    "A process and all that it started"
    children = {}
    for p in Path('/proc').glob('[0-9]*'):
        try: children.setdefault(int((p/'stat').read_text().rsplit(')', 1)[1].split()[1]), []).append(int(p.name))
        except OSError: pass # it ended meanwhile
    pids = [pid]
    for pid in pids: pids += children.get(pid, [])
    return pids

def measured(pid)->tuple:
    "(resident memory in MB, seconds of processor) of a process and all that it started"
    mb = seconds = 0
    for p in family(pid):
        try:
            pages, times = (
                (Path('/proc') / str(p) / 'statm').read_text().split()[1],
                (Path('/proc') / str(p) / 'stat').read_text().rsplit(')', 1)[1].split()[11:15],
            )
        except OSError:
            continue
        mb += int(pages)*os.sysconf('SC_PAGE_SIZE')/2**20
        seconds += sum(map(int, times))/os.sysconf('SC_CLK_TCK')
    return mb, seconds

class Server:
    "A page's server; in a `with`, from its start until it is told to stop. `uploads`: where Gradio keeps what is sent to it"
    def __init__(self, words, port, cwd, env): self.words, self.port, self.cwd, self.env = [str(w) for w in words], port, cwd, env
    def __enter__(self):
        self.tmp = Path(tempfile.mkdtemp())
        self.uploads, self.url = self.tmp/'uploads', f'http://127.0.0.1:{self.port}'
        self.log = open(self.tmp/'log', 'w+')
        env = self.env | dict(
            GRADIO_TEMP_DIR=str(self.uploads), GRADIO_SERVER_PORT=str(self.port), GRADIO_ANALYTICS_ENABLED='False', HF_HUB_OFFLINE='1'
        )
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            self.words, cwd=self.cwd, env=env, stdout=self.log, stderr=subprocess.STDOUT, start_new_session=True
        )
        self.seconds = self.wait()
        self.worked = measured(self.process.pid)[
            1
        ]  # seconds of processor until then: they drift less than the clock where others work beside it
        return self
    def wait(self, most=120)->float:
        "Seconds until the page is there"
        while time.perf_counter() - self.started < most and self.process.poll() is None:
            try:
                if httpx.get(self.url, timeout=10).status_code == 200: return time.perf_counter() - self.started
            except httpx.TransportError: time.sleep(.02)
        self.log.seek(0)
        text = self.log.read()[-2000:]
        self.__exit__()
        sys.exit(f'no page: {" ".join(self.words)}\n{text}')
    def files(self)->int: return sum(f.is_file() for f in self.uploads.rglob('*')) # left of what was sent
    def __exit__(self, *_):
        if self.process.poll() is None: os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.log.close()
        shutil.rmtree(self.tmp, ignore_errors=True)

async def ask(client, photo:bytes)->tuple:
    "(answer, seconds with the upload, seconds without) of one image, over the API"
    t = time.perf_counter()
    path, = (await client.post('/gradio_api/upload', files={'files': ('photo.jpg', photo, 'image/jpeg')})).raise_for_status().json()
    sent = time.perf_counter()
    data = [dict(path=path, meta={'_type': 'gradio.FileData'})]
    event = (await client.post('/gradio_api/call/predict', json=dict(data=data))).raise_for_status().json()['event_id']
    kind = None
    async with client.stream('GET', f'/gradio_api/call/predict/{event}') as answer:
        async for line in answer.aiter_lines():
            if line.startswith('event: '): kind = line[7:]
            elif line.startswith('data: ') and kind in ('complete', 'error'): break
    done = time.perf_counter()
    if kind != 'complete': raise RuntimeError(line[:300])
    return json.loads(line[6:])[0], done - t, done - sent

async def one_by_one(url, photo:bytes, n:int)->list:
    "`n` answers to one client, as `ask` gives them"
    async with httpx.AsyncClient(base_url=url, timeout=60) as client: return [await ask(client, photo) for _ in range(n)]

async def load(server, photos:list, clients:int, seconds:float)->dict:
    "Many clients at once, each waiting for its answer before it asks again"
    taken, errors, rss, start = [], [], [], time.perf_counter()
    own, theirs = time.process_time(), measured(server.process.pid)[1]
    async def one(i):
        asked = itertools.cycle(random.Random(i).sample(photos, len(photos)))
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
            while time.perf_counter() - start < seconds:
                try:
                    answer, whole, _ = await ask(client, next(asked))
                    if answer.get('error') or not answer.get('top'): errors.append(f'no answer: {answer}')
                    else: taken.append(whole)
                except Exception as e: errors.append(f'{type(e).__name__}: {e}')
    async def watch():
        while time.perf_counter() - start < seconds + 1:
            rss.append((time.perf_counter() - start, measured(server.process.pid)[0]))
            await asyncio.sleep(1)
    await asyncio.gather(watch(), *(one(i) for i in range(clients)))
    own, theirs = time.process_time() - own, measured(server.process.pid)[1] - theirs
    at = lambda s: min(rss, key=lambda r: abs(r[0] - s))[1]
    return dict(
        n=len(taken),
        errors=errors,
        own=own,
        theirs=theirs,
        median=statistics.median(taken or [0]),
        p95=sorted(taken or [0])[int(0.95 * (len(taken) or 1))],
        early=at(seconds / 3),
        late=rss[-1][1],
        peak=max(m for _, m in rss),
    )


def phone_photo(path)->bytes:
    "A photograph as a phone takes it: 12 megapixels, some noise, some MB"
    import numpy as np
    from PIL import Image
    a = np.asarray(Image.open(path).convert('RGB').resize((4000, 3000), Image.Resampling.BICUBIC)).astype(np.int16)
    file = io.BytesIO()
    Image.fromarray((a + np.random.default_rng(0).normal(0, 10, a.shape)).clip(0, 255).astype(np.uint8)).save(file, 'JPEG', quality=90)
    return file.getvalue()

def page_answer(model, photo:bytes, n:int=15)->float:
    "Milliseconds of an answer with image, map and HTML, at the server alone"
    from threadpoolctl import threadpool_limits
    from quickcls.report.answer_html import answer_html, ask
    from quickcls.model.classifier import Classifier
    clf, seconds = Classifier.load(model), []
    with threadpool_limits(1, user_api='blas'): # as `launch` sets it
        for _ in range(n):
            t = time.perf_counter()
            answer_html(ask(clf, photo, 'photo.jpg'))
            seconds.append(time.perf_counter() - t)
    return 1000*statistics.median(seconds)
