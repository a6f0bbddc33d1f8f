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
    with browser.new_context(**dict(reduced_motion='reduce') | context) as c: # no click meets a page that is still scrolling
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
        page.keyboard.press('Tab')
        page.keyboard.press('Enter') # the first key press leads past the contents
        page.keyboard.press('Tab')
        assert page.evaluate("document.activeElement.closest('.steps') !== null")
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
            and not page.locator('nav:visible').count()
            and not page.locator('[data-show]').first.is_visible()
            and page.locator('button[data-cell]').first.is_visible()
        )


def test_without_javascript_the_figures_are_there(browser, report):
    path, _ = report(['cat', 'dog'])
    with browser.new_context(java_script_enabled=False) as c:
        page = c.new_page()
        page.goto(path.as_uri())
        assert 'need JavaScript' in page.inner_text('body') and page.locator('svg').count() >= 3

screens = [dict(width=1280, height=800), dict(width=390, height=844)]

@pytest.mark.parametrize('classes', [2, 5, 40])
@pytest.mark.parametrize('viewport', screens, ids=lambda v: f'{v["width"]}')
def test_the_answer_is_on_the_first_screen(browser, report, viewport, classes):
    "How good, the weakest class, one figure, what to do next, how to share; nothing hides it"
    path, _ = report([f'class number {i}' for i in range(classes)], n=120)
    with opened(browser, path, viewport=viewport) as page:
        for what in ('.figure', '.lead', '.weakest', '.glance', '.steps'):
            box = page.locator(f'#answer {what}').bounding_box()
            assert box['y'] >= 0 and box['y'] + box['height'] <= viewport['height'] and box['x'] + box['width'] <= viewport['width'], what
        assert page.locator('.steps li').count() == 3 and '--space' in page.locator('.steps li').last.inner_text()

@pytest.mark.parametrize('viewport', screens, ids=lambda v: f'{v["width"]}')
def test_contents_stick_and_open_what_is_folded(browser, report, viewport):
    "Also by keyboard; a step that names a section leads to it"
    path, _ = report(['cat', 'dog', 'owl'])
    with opened(browser, path, viewport=viewport) as page:
        page.mouse.wheel(0, 2000)
        page.wait_for_timeout(300)
        if viewport['width'] < 1000: page.locator('.menu > summary').press('Enter')
        link, part = page.locator('nav a[href="#again"]:visible'), page.locator('#again')
        assert part.get_attribute('open') is None and link.bounding_box()['y'] < viewport['height']
        link.press('Enter')
        page.wait_for_timeout(600)
        top = part.bounding_box()['y']
        assert part.locator('pre, table').first.is_visible() and -5 < top < viewport['height']
        part.locator('summary').press('Enter')
        assert not part.locator('table').first.is_visible()
        step = page.locator('.steps a').first
        step.click()
        assert page.locator(step.get_attribute('href')).get_attribute('open') is not None

def test_an_address_with_a_section_opens_it(browser, report):
    path, _ = report(['cat', 'dog', 'owl'])
    with browser.new_context() as c:
        page = c.new_page()
        page.goto(path.as_uri() + '#data')
        assert page.locator('#data table').is_visible()

def test_print_shows_all_and_folds_again(browser, report):
    path, _ = report(['cat', 'dog', 'owl'])
    with opened(browser, path) as page:
        assert not page.locator('#data table').is_visible()
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        page.emulate_media(media='print')
        assert all(t.is_visible() for t in page.locator('.part table').all())
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        page.emulate_media(media='screen')
        assert not page.locator('#data table').is_visible()
        page.get_by_role('button', name='Open all sections').first.click()
        assert page.locator('#data table').is_visible()

@pytest.mark.parametrize('classes', [13, 40])
def test_wide_tables_scroll_inside_and_show_it(browser, report, classes):
    "With everything open, a phone scrolls only downwards; a matrix that is cut off has a shadow at that edge"
    path, _ = report([f'class number {i}' for i in range(classes)], n=200)
    with opened(browser, path, viewport=screens[1]) as page:
        page.evaluate("document.querySelectorAll('details.part').forEach(d => d.open = true)")
        page.wait_for_timeout(200)
        assert page.evaluate('document.documentElement.scrollWidth') == 390
        edge = page.locator('.edge:has(> .matrix)')
        assert edge.get_attribute('class').split() == ['edge', 'after'] and page.locator('.edge:has(> .matrix) + .hint').is_visible()
        page.evaluate("document.querySelector('.matrix').scrollTo(9999, 0)")
        page.wait_for_timeout(200)
        assert edge.get_attribute('class').split() == ['edge', 'before']

@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize('viewport', screens, ids=lambda v: f'{v["width"]}')
def test_no_serious_fault_of_accessibility(browser, report, viewport, scheme):
    "With everything open, a cell of the matrix too"
    from tests.axe import serious_faults
    path, _ = report([f'class number {i}' for i in range(5)])
    with browser.new_context(viewport=viewport, color_scheme=scheme, bypass_csp=True) as c:
        page = c.new_page()
        page.goto(path.as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        page.locator('button[data-cell]').first.click()
        assert serious_faults(page) == []

def test_without_a_part_there_is_no_section(browser, tmp_path):
    "No cross-validation, no images, no mistake: nothing is empty"
    classifier_folder(tmp_path/'model', ['cat', 'dog'], 60, wrong=0)
    with opened(browser, write_report(tmp_path/'model', images=False)) as page:
        ids = page.evaluate("[...document.querySelectorAll('details.part')].map(d => d.id)")
        assert not {'sure', 'unknown', 'more', 'balance', 'focus'} & set(ids) and {'matrix', 'classes', 'data'} <= set(ids)
        assert page.locator('nav.beside a').count() == len(ids) and page.locator('img').count() == 0

@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize('viewport', screens, ids=lambda v: f'{v["width"]}')
def test_the_page_of_two_classifiers_has_no_serious_fault(browser, tmp_path, viewport, scheme):
    "It fits a phone, and axe-core finds nothing serious"
    from quickcls.evaluate.paired import compare_runs
    from quickcls.report.paired_page import write_versus
    from quickcls.report.record import read_facts
    from tests.axe import serious_faults
    vocab = [f'class number {i}' for i in range(5)]
    for name, wrong in (('first', .1), ('second', .4)): classifier_folder(tmp_path/name, vocab, 90, wrong=wrong)
    path = write_versus(compare_runs(*(read_facts(tmp_path/n) for n in ('first', 'second'))), tmp_path/'versus.html')
    with browser.new_context(viewport=viewport, color_scheme=scheme, bypass_csp=True) as c:
        page = c.new_page()
        page.goto(path.as_uri())
        assert serious_faults(page) == [] and page.evaluate('document.documentElement.scrollWidth') == viewport['width']
