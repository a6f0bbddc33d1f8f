"The report in a browser: cells open, names are text, a phone needs no sideways scroll"
import os
from contextlib import contextmanager
import pytest
from quickcls.report.page import write_report
from tests.helpers import classifier_folder, full_trust, image

hostile = ['<img src=x onerror=alert(1)>', '</script><script>alert(2)</script>', '"><svg onload=alert(3)>']

@pytest.fixture(scope='module')
def report(tmp_path_factory):
    "Function: class names → (path of the page, table of predictions); the images are called like the first class"
    def make(vocab, n=90):
        root = tmp_path_factory.mktemp('report')
        (root/'images').mkdir()
        paths = [str(root/'images'/f'{vocab[0].replace("/", "")}{i:04}.jpg') for i in range(2*n)]
        for i, p in enumerate(paths): image(i).save(p)
        table = classifier_folder(root/'model', vocab, n, wrong=.5, images=paths, trust=full_trust(vocab))
        return write_report(root/'model', name=vocab[0]), table[table.split == 'valid']
    return make

@contextmanager
def opened(browser, path, **context):
    "A page on which nothing goes wrong: no dialog, no error, no request but for the file itself"
    with browser.new_context(**context) as c:
        page, odd = c.new_page(), []
        page.on('dialog', lambda d: (odd.append(f'dialog {d.message}'), d.dismiss()))
        page.on('pageerror', lambda e: odd.append(f'error {e}'))
        page.on('console', lambda m: odd.append(f'{m.type} {m.text}'))
        page.on('request', lambda r: odd.append(f'request {r.url[:80]}') if not r.url.startswith(('data:', path.as_uri())) else None)
        page.goto(path.as_uri())
        yield page
        assert odd == []

def test_a_cell_opens_its_images(browser, report):
    path, table = report(['cat', 'dog', 'owl'])
    rows = table[(table.label == 'cat') & (table.predicted == 'dog')].sort_values('loss', ascending=False)
    with opened(browser, path) as page:
        cell, panel = page.get_by_role('button', name='actual cat, predicted dog'), page.locator('#panel')
        assert not panel.is_visible()
        cell.click()
        assert panel.is_visible() and panel.locator('img').count() == len(rows) and cell.get_attribute('aria-expanded') == 'true'
        assert panel.locator('bdi').all_text_contents() == [os.path.basename(p) for p in rows.path]
        assert f'dog {rows.p_dog.iloc[0]:.1%}' in panel.inner_text() and f'cat {rows.p_cat.iloc[0]:.1%}' in panel.inner_text()
        assert page.evaluate("[...document.querySelectorAll('img')].every(i => i.complete && i.naturalWidth > 0)")
        page.get_by_role('button', name='actual dog, predicted dog').click()
        assert panel.is_visible() and cell.get_attribute('aria-expanded') == 'false'
        page.get_by_role('button', name='close').click()
        assert not panel.is_visible()

def test_by_keyboard(browser, report):
    path, _ = report(['cat', 'dog'])
    with opened(browser, path) as page:
        page.locator('button[data-cell="0-1"]').focus()
        page.keyboard.press('Enter')
        assert page.locator('#panel').is_visible()
        page.keyboard.press('Escape')
        assert not page.locator('#panel').is_visible() and page.evaluate('document.activeElement.dataset.cell') == '0-1'

def test_counts_or_shares(browser, report):
    path, table = report(['cat', 'dog'])
    cats = table[table.label == 'cat']
    found = int((cats.predicted == 'cat').sum())
    with opened(browser, path) as page:
        cell = page.locator('button[data-cell="0-0"]')
        assert cell.inner_text() == str(found)
        page.get_by_role('button', name='% of row').click()
        assert cell.inner_text() == f'{100*found/len(cats):.0f}%'
        page.get_by_role('button', name='counts', exact=True).click()
        assert cell.inner_text() == str(found)

def test_hostile_names_are_shown_and_do_nothing(browser, report):
    path, _ = report(hostile)
    with opened(browser, path) as page:
        assert page.locator('h1').inner_text() == hostile[0] and page.locator('img[src="x"]').count() == 0
        for cell in page.locator('button[data-cell]').all(): cell.click(force=True)
        page.locator('button[data-cell="1-0"]').click()
        assert page.locator('#panel-title').inner_text().startswith(f'actual {hostile[1]}, predicted {hostile[0]}')
        assert page.locator('#panel bdi').first.inner_text().startswith(hostile[0]) and hostile[1] in page.locator('#panel').inner_text()
        page.wait_for_timeout(200) # what would fire late

@pytest.mark.parametrize('classes', [2, 40])
def test_a_phone_scrolls_only_downwards(browser, report, classes):
    path, _ = report([f'class number {i}' for i in range(classes)], n=120)
    with opened(browser, path, viewport=dict(width=390, height=800), has_touch=True) as page:
        page.locator('button[data-cell]').last.click()
        assert page.evaluate('document.documentElement.scrollWidth') == 390
        page.evaluate("document.querySelector('.matrix').scrollTo(300, 200)")
        corner = page.evaluate(
            "(() => { const m = document.querySelector('.matrix'), a = m.getBoundingClientRect(); return "
            "[...m.querySelectorAll('tbody th')].every(h => Math.abs(h.getBoundingClientRect().left - "
            "a.left) < 4) })()"
        )
        assert corner # names of rows stay in sight

def test_dark_and_print(browser, report):
    path, _ = report(['cat', 'dog'])
    with opened(browser, path, color_scheme='dark') as page:
        lightness = 'getComputedStyle(document.documentElement).backgroundColor.match(/\\d+/g).map(Number)[0]'
        assert page.evaluate(lightness) < 60
        page.emulate_media(media='print')
        assert (
            page.evaluate(lightness) > 240
            and not page.locator('nav').is_visible()
            and not page.locator('[data-show]').first.is_visible()
            and page.locator('button[data-cell]').first.is_visible()
        )


def test_without_javascript_the_figures_are_there(browser, report):
    path, _ = report(['cat', 'dog'])
    with browser.new_context(java_script_enabled=False) as c:
        page = c.new_page()
        page.goto(path.as_uri())
        assert 'need JavaScript' in page.inner_text('body') and page.locator('svg').count() >= 3
