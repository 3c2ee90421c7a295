// Given {"url": …, "token": …, "organization": …, "project": …, "stacktrace": …, "store": …}, asks the console's page of
// suspects, by keyboard alone, on screens of two widths, and returns what each shows. With "store" the button is pressed
// on the last of them; with "once" there is one screen. With "folder" it gets pictures of each in two colour schemes.

import {readFileSync} from 'node:fs';

const axe = readFileSync(new URL('node_modules/axe-core/axe.min.js', import.meta.url), 'utf8');
const WIDTHS = [1440, 375];
const COLOURS = ['light', 'dark'];
let context, given;

export default async function play(browserContext, values) {
  [context, given] = [browserContext, values];
  const results = [];
  for (const width of given.once ? WIDTHS.slice(1) : WIDTHS) results.push(await ask(width));
  return {results, violations: given.once ? [] : await check()};
}

/** The page, before anything is asked, with the token of a caller. */
export async function open(context, given, width = 1440) {
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  await page.setViewportSize({width, height: 900});
  await page.addInitScript((token) => {
    const key = `grpc-console-token ${new URL('.', location.href).pathname}`;
    if (token) sessionStorage.setItem(key, JSON.stringify({token, header: 'authorization'}));
  }, given.token);
  const errors = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  await page.goto(`${given.url}suspects.html`);
  await page.waitForSelector('#question:not([hidden])');
  return {page, errors};
}

async function ask(width) {
  const {page, errors} = await open(context, given, width);
  page.on('console', (message) => message.type() === 'error' && errors.push(message.text()));
  // The focus is where the first value goes.
  await page.keyboard.type(given.organization);
  await page.keyboard.press('Tab');
  await page.keyboard.type(given.project);
  await page.keyboard.press('Shift+Tab');
  await page.keyboard.press('Shift+Tab');
  await page.keyboard.insertText(given.stacktrace);
  await page.keyboard.press('Control+Enter');
  await page.waitForSelector('#findings > *');
  const shown = await page.evaluate(facts);
  for (const colorScheme of given.folder ? COLOURS : []) {
    await page.emulateMedia({colorScheme});
    await page.screenshot({path: `${given.folder}/suspects-${width}-${colorScheme}.png`, fullPage: true});
  }
  if (given.store && width === WIDTHS.at(-1)) {
    for (let steps = 0; steps < 60; steps++) {
      await page.keyboard.press('Tab');
      if (await page.evaluate(() => document.activeElement?.textContent.startsWith('Store '))) break;
    }
    await page.keyboard.press('Enter');
    await page.waitForSelector('.done');
    shown.stored = await page.evaluate(facts);
  }
  await page.close();
  return {...shown, errors, width};
}

/** What the page shows. */
function facts() {
  const texts = (selector) => [...document.querySelectorAll(selector)].map((each) => each.textContent);
  return {
    suspects: texts('.suspects h3'),
    links: [...document.querySelectorAll('.suspects h3 a, .frames a, .snippet a')].map((each) => each.href),
    authors: texts('.suspects .author'),
    blamed: texts('.is-first .is-blamed'),
    frames: texts('.frames .outcome'),
    mappings: [...document.querySelectorAll('.mappings tbody tr')].map((row) => [...row.cells].map((cell) => cell.textContent)),
    hint: document.querySelector('#repositories').textContent,
    wrong: texts('.wrong:not([hidden])'),
    focus: document.activeElement?.id || document.activeElement?.className,
    overflow: document.documentElement.scrollWidth - innerWidth,
    elements: document.querySelectorAll('main img, main script, main iframe').length,
    text: document.body.textContent,
  };
}

/** Where axe finds fault, before there is anything and after. */
async function check() {
  const found = [];
  const {page} = await open(context, given);
  await page.evaluate(axe);
  for (const step of ['empty', 'found']) {
    if (step === 'found') {
      for (const name of ['organization', 'project', 'stacktrace']) await page.fill(`#${name}`, given[name]);
      await page.click('#find');
      await page.waitForSelector('#findings > *');
    }
    for (const colorScheme of COLOURS) {
      await page.emulateMedia({colorScheme});
      // The dark differs in nothing but colours.
      const rules = colorScheme === 'light' ? {} : {runOnly: ['color-contrast']};
      const {violations} = await page.evaluate((rules) => window.axe.run({...rules, resultTypes: ['violations']}), rules);
      found.push(...violations.map((each) => `${colorScheme}, ${step}: ${each.id} at ${each.nodes.map((node) => node.target)}`));
    }
  }
  return found;
}
