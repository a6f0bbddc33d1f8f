"""Film a training in a terminal, and the page of its classifier, into docs/train.gif: `python docs/film.py`.

The commands really run, in a pseudo-terminal; pauses are cut to a sixth of a second. The page is photographed in Chromium.
"""
import os, pty, select, shutil, sys, tempfile, time
from pathlib import Path
from PIL import Image, ImageChops, ImageDraw, ImageFont
from pyte import ByteStream, Screen, Stream

docs = Path(__file__).resolve().parent
columns, rows, wide, high = 80, 21, 760, 466 # of the terminal in characters, of the film in pixels
paper, ink = '#11161d', '#d8dee6'
colours = dict(red='#ff8f8f', green='#7ee2b8', brown='#ffd479', blue='#8fc1ff', cyan='#8fe3e8', white='#ffffff', brightblack='#8b98a6')
longest = .15 # seconds of a pause

def picture(screen)->Image.Image: # `screen`: of pyte, which understands what a program sends to a terminal
    "A terminal as an image, with its cursor"
    im = Image.new('RGB', (wide, high), paper)
    d, step = ImageDraw.Draw(im), (high - 30)/rows
    for i, line in screen.buffer.items():
        for c, cell in line.items():
            shade = colours['white'] if cell.bold and cell.fg == 'default' else colours.get(cell.fg, ink)
            d.text((16 + c*char_wide, 14 + i*step), cell.data, shade, font)
    x, y = 16 + screen.cursor.x*char_wide, 14 + screen.cursor.y*step
    d.rectangle((x, y + 1, x + char_wide - 1, y + step - 3), fill='#6f7d8c')
    return im

def mono(size:int):
    "matplotlib's own monospaced font: it is there wherever quickcls is"
    import matplotlib
    return ImageFont.truetype(str(Path(matplotlib.get_data_path())/'fonts'/'ttf'/'DejaVuSansMono.ttf'), size)

font = mono(15)
char_wide = font.getlength('m')

def typed(screen, command:str)->list: # of (image, seconds)
    "A command as a person types it"
    frames, terminal = [], Stream(screen)
    terminal.feed('\x1b[32m$ \x1b[0m\x1b[1m')
    for i in range(0, len(command), 3):
        terminal.feed(command[i:i + 3])
        frames.append((picture(screen), .07))
    frames.append((picture(screen), .5))
    terminal.feed('\x1b[0m\r\n')
    return frames

def run(screen, words:list, folder:Path)->list: # of (image, seconds)
    "A command in a pseudo-terminal: what it shows, and how long"
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.environ |= dict(COLUMNS=str(columns), LINES=str(rows), TERM='xterm-256color')
        os.execvp(words[0], words)
    import fcntl, struct, termios
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))
    frames, last, stream = [], time.monotonic(), ByteStream(screen)
    while True:
        ready, _, _ = select.select([terminal], [], [], .1)
        try: data = os.read(terminal, 65536) if ready else b''
        except OSError: break # its end, on Linux
        if ready and not data: break
        if data:
            now = time.monotonic()
            frames.append((picture(screen), min(now - last, longest)))
            stream.feed(data)
            last = now
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]): sys.exit(f'failed: {" ".join(words)}')
    return frames

def page_frames(model:Path)->list: # of (image, seconds)
    "The page: before an image, the answer, the heat map blended in"
    from io import BytesIO
    from playwright.sync_api import sync_playwright
    from quickcls.demo import ask_page, launch, pack_images
    pack_images(model)
    page, frames = ask_page(model, examples=docs/'parts'), []
    url = launch(page, block=False)
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=shutil.which('chromium'), args=['--no-sandbox', '--disable-gpu'])
        seen = browser.new_page(viewport=dict(width=1100, height=675))
        def shoot(seconds):
            shot = Image.open(BytesIO(seen.screenshot())).convert('RGB')
            frames.append((shot.resize((wide, high), Image.Resampling.LANCZOS), seconds))
        seen.goto(url)
        seen.wait_for_selector('#examples button')
        seen.wait_for_timeout(800)
        shoot(1.6)
        seen.locator('#examples button').first.click()
        seen.wait_for_selector('#answer .qc-verdict')
        for blend, seconds in ((0, 1.4), (35, .3), (70, 2.6)):
            seen.locator('#answer .qc-blend').fill(str(blend))
            seen.mouse.move(0, 0)
            seen.wait_for_timeout(700)
            shoot(seconds)
        browser.close()
    page.close(verbose=False)
    return frames

def save(frames:list, path:Path):
    "Equal images become one; 64 colours for the terminal, 128 for the page"
    images, times = [], []
    for im, seconds in frames:
        if images and not ImageChops.difference(images[-1], im).getbbox(): times[-1] += seconds
        else:
            images.append(im)
            times.append(seconds)
    few = [im.quantize(128 if im.getpixel((2, 2)) != images[0].getpixel((2, 2)) else 64, dither=Image.Dither.NONE) for im in images]
    few[0].save(path, save_all=True, append_images=few[1:], duration=[max(40, round(1000*t)) for t in times], loop=0, optimize=True)

def film(path:Path):
    "The whole film"
    exe = Path(sys.executable).with_name('quickcls')
    with tempfile.TemporaryDirectory() as d:
        d, screen = Path(d), Screen(columns, rows)
        shutil.copytree(docs.parent/'datasets'/'parts', d/'parts', ignore=shutil.ignore_patterns('*.py', '*.csv', '*.md'))
        shutil.copy(docs/'parts'/'defect.jpg', d/'photo.jpg')
        frames = typed(screen, 'quickcls train parts/')
        frames += run(screen, [str(exe), 'train', 'parts/', '--arch', 'efficientnet_lite0'], d)
        frames.append((picture(screen), 3))
        frames += typed(screen, 'quickcls predict models/parts photo.jpg')
        frames += run(screen, [str(exe), 'predict', 'models/parts', 'photo.jpg'], d)
        frames.append((picture(screen), 2))
        frames += typed(screen, 'quickcls demo models/parts')
        save([*frames, *page_frames(d/'models'/'parts')], path)

if __name__ == '__main__': film(docs/'train.gif')
