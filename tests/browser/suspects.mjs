// node suspects.mjs CHROMIUM FOLDER < {"url": …, "token": …, "organization": …, "project": …, "stacktrace": …, "store": …}
//
// Asks the console's page of suspects, by keyboard alone, on screens of two widths in two colour schemes, and prints
// what each shows as JSON. FOLDER gets a picture of each. With "store" the button is pressed on the last of them;
// with "once" there is one screen.

import {readFileSync} from 'node:fs';
import {chromium} from 'playwright-core';

const [executablePath, folder] = process.argv.slice(2);
const given = JSON.parse(readFileSync(0, 'utf8'));
const axe = readFileSync(new URL('node_modules/axe-core/axe.min.js', import.meta.url), 'utf8');
const browser = await chromium.launch({executablePath, args: ['--no-sandbox', '--disable-gpu']});
const results = [];
const screens = [[1440, 'light'], [1440, 'dark'], [375, 'light'], [375, 'dark']];
for (const [width, colorScheme] of given.once ? screens.slice(2, 3) : screens) results.push(await ask(width, colorScheme));
console.log(JSON.stringify({results, violations: given.once ? [] : await check()}));
await browser.close();

async function open(options) {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(15_000);
  await context.addInitScript((token) => {
    const key = `grpc-console-token ${new URL('.', location.href).pathname}`;
    if (token) sessionStorage.setItem(key, JSON.stringify({token, header: 'authorization'}));
  }, given.token);
  const page = await context.newPage();
  await page.goto(`${given.url}suspects.html`);
  await page.waitForSelector('#question:not([hidden])');
  return page;
}

async function ask(width, colorScheme) {
  const page = await open({viewport: {width, height: 900}, colorScheme});
  const errors = [];
  page.on('pageerror', (error) => errors.push(String(error)));
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
  await page.screenshot({path: `${folder}/suspects-${width}-${colorScheme}.png`, fullPage: true});
  if (given.store && results.length === screens.length - 1) {
    for (let steps = 0; steps < 60; steps++) {
      await page.keyboard.press('Tab');
      if (await page.evaluate(() => document.activeElement?.textContent.startsWith('Store '))) break;
    }
    await page.keyboard.press('Enter');
    await page.waitForSelector('.done');
    shown.stored = await page.evaluate(facts);
  }
  await page.context().close();
  return {...shown, errors, width, colorScheme};
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
  for (const colorScheme of ['light', 'dark']) {
    const page = await open({viewport: {width: 1440, height: 900}, colorScheme, bypassCSP: true});
    await page.addScriptTag({content: axe});
    for (const step of ['empty', 'found']) {
      if (step === 'found') {
        for (const name of ['organization', 'project', 'stacktrace']) await page.fill(`#${name}`, given[name]);
        await page.click('#find');
        await page.waitForSelector('#findings > *');
      }
      const {violations} = await page.evaluate(() => window.axe.run({resultTypes: ['violations']}));
      found.push(...violations.map((each) => `${colorScheme}, ${step}: ${each.id} at ${each.nodes.map((node) => node.target)}`));
    }
    await page.context().close();
  }
  return found;
}
