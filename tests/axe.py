"Accessibility faults of a page, found by axe-core"

def serious_faults(
    page, # Playwright page, open
    within:str=None # CSS selector of the part to look at; None: the whole page
)->list: # of one line a fault: rule, impact, what it means, the first places
    "What axe-core calls serious or critical"
    from axe_playwright_python.sync_playwright import Axe
    page.wait_for_function(_still) # text that fades has less contrast for a moment
    found = Axe().run(page, context=within).response['violations']
    return [_line(v) for v in found if v['impact'] in ('serious', 'critical')]

_still = """() => !document.querySelector('.pending, .generating') && document.getAnimations().every(a =>
    a.playState != 'running' || a.effect.getComputedTiming().iterations == Infinity)"""

def _line(v):
    places = ', '.join(' '.join(map(str, n['target'])) for n in v['nodes'][:3])
    return f'{v["id"]} ({v["impact"]}): {v["help"]}; {len(v["nodes"])} places: {places}'
