// Opens the console at a URL, and does what somebody would do, who is named here with the values given.

import {readFileSync} from 'node:fs';

const axe = readFileSync(new URL('node_modules/axe-core/axe.min.js', import.meta.url), 'utf8');
const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
let context, consoleUrl, pictures, given, problems;

export default async function play(browserContext, {name, url, folder, values}) {
  [context, consoleUrl, pictures, given, problems] = [browserContext, url, folder, values, []];
  return {result: await scenarios[name](), problems};
}

async function open({width = 1440, height = 900} = {}) {
  const page = await context.newPage();
  page.setDefaultTimeout(10_000);
  await page.setViewportSize({width, height});
  page.on('pageerror', (error) => problems.push(String(error)));
  page.on('console', (message) => message.type() === 'error' && !/status of 4\d\d/.test(message.text()) && problems.push(message.text()));
  page.on('request', (request) => new URL(request.url()).origin === new URL(consoleUrl).origin || problems.push(`loads ${request.url()}`));
  return page;
}

async function openMethod(page, name) {
  await page.goto(`${consoleUrl}/#/${name}`);
  await page.locator('h1', {hasText: name.split('/')[1]}).waitFor();
}

// Axe, and nothing that is wider than the screen.
async function look(page, name, runOnly = RULES) {
  if (!(await page.evaluate(() => 'axe' in window))) await page.evaluate(axe);
  // Without describing all that it finds no fault with, which takes most of its time.
  const {violations} = await page.evaluate((runOnly) => window.axe.run(document, {runOnly, resultTypes: ['violations']}), runOnly);
  problems.push(...violations.map(({id, nodes}) => `${name}: axe ${id}: ${nodes.map(({html}) => html.slice(0, 200)).join(' | ')}`));
  const wide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
  if (wide) problems.push(`${name}: wider than the screen`);
  const small = await page.evaluate(() => [...document.querySelectorAll('button, a, select')].filter((each) => each.checkVisibility() && each.getBoundingClientRect().height < 20 && !each.matches('p a, .skip, .cards a, .brand')).map((each) => each.textContent));
  if (small.length) problems.push(`${name}: too small to touch: ${small.slice(0, 3)}`);
}

async function writeJson(page, requests) {
  await page.getByText('JSON', {exact: true}).click();
  await page.locator('textarea.json').fill(JSON.stringify(requests));
}

// JSON as the form reads it.
async function throughForm(page, text) {
  await page.getByText('JSON', {exact: true}).click();
  await page.locator('textarea.json').fill(text);
  await page.getByText('Form', {exact: true}).click();
  await page.getByText('JSON', {exact: true}).click();
  return (await page.locator('textarea.json').inputValue()).replace(/\s/g, '');
}

async function ended(page) {
  await page.locator('.outcome').waitFor();
  return page.evaluate(() => ({
    status: document.querySelector('.outcome').textContent,
    message: document.querySelector('.status-message')?.textContent ?? '',
    messages: [...document.querySelectorAll('.messages pre')].map((each) => each.textContent),
    details: [...document.querySelectorAll('.detail')].map((each) => each.textContent),
    pairs: [...document.querySelectorAll('.response tr')].map((each) => [...each.children].map((cell) => cell.textContent)),
  }));
}

async function press(page) {
  await page.getByRole('button', {name: 'Call', exact: true}).click();
  return ended(page);
}

// In the page: hundreds of clicks that wait for the next frame each take long.
async function pressInEach(select, send) {
  const statuses = [];
  for (const {value} of select.options) {
    select.value = value;
    select.dispatchEvent(new Event('change', {bubbles: true}));
    document.querySelector('.outcome')?.remove();
    send.click();
    const stop = performance.now() + 10_000;
    while (!document.querySelector('.outcome')) {
      if (performance.now() > stop) throw new Error(`no outcome in ${value}`);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    statuses.push([value, document.querySelector('.outcome').textContent]);
  }
  return statuses;
}

async function withToken(page, token) {
  await page.locator('#token-text').fill(token);
  await page.getByRole('button', {name: 'Use token'}).click();
}

const scenarios = {
  // Every request in every protocol that can be chosen.
  async calls() {
    const page = await open();
    await page.goto(`${consoleUrl}/`);
    await page.getByText('authentication required').waitFor();
    await look(page, 'token');
    await withToken(page, 'wrong');
    await page.getByText('not valid').waitFor();
    await withToken(page, given.token);
    await page.locator('.service').first().waitFor();
    const listed = await page.locator('#services li a').evaluateAll((links) => links.map((link) => link.getAttribute('href').slice(2)));
    const found = [];
    for (const [name, request] of given.requests) {
      await openMethod(page, name);
      await writeJson(page, request);
      const send = await page.getByRole('button', {name: 'Call', exact: true}).elementHandle();
      const statuses = await page.getByLabel('Protocol').evaluate(pressInEach, send);
      found.push(...statuses.map(([protocol, status]) => [name, request, protocol, status]));
    }
    // Another token, of which the next call makes use.
    const useToken = async (token) => {
      await page.getByRole('button', {name: 'Token is set'}).click();
      await withToken(page, token);
      await page.evaluate(() => document.querySelector('.outcome').remove());
      return (await press(page)).status;
    };
    const tokens = [await useToken('wrong'), await useToken(given.token)];
    // In no address, no storage but this tab's memory, no copied command.
    await page.getByRole('button', {name: 'Copy as …'}).click();
    const copied = [];
    for (const choice of await page.locator('dialog .segments label').all()) {
      await choice.click();
      copied.push(await page.locator('dialog pre').textContent());
    }
    const kept = await page.evaluate(() => JSON.stringify([{...localStorage}, {...sessionStorage}, location.href]));
    return {listed, found, tokens, leaks: [kept, ...copied].filter((each) => each.includes(given.token))};
  },

  // The pictures of the documents, and how it looks elsewhere.
  async looks() {
    for (const width of [1440, 375]) {
      const page = await open({width, height: width < 500 ? 812 : 900});
      // The dark differs in nothing but colours.
      const examine = async (view, picture = view) => {
        for (const colorScheme of ['light', 'dark']) {
          await page.emulateMedia({colorScheme});
          if (pictures && picture) await page.screenshot({path: `${pictures}/${picture}-${width}-${colorScheme}.png`});
          await look(page, `${view} at ${width} px, ${colorScheme}`, colorScheme === 'light' ? RULES : ['color-contrast']);
        }
      };
      await page.goto(`${consoleUrl}/`);
      await page.locator('.service').first().waitFor();
      await examine('overview');
      await openMethod(page, given.unary[0]);
      await writeJson(page, given.unary[1]);
      await page.getByText('Form', {exact: true}).click();
      await press(page);
      if (width > 500) await page.evaluate(() => scrollTo(0, 0));
      await examine('method');
      await page.getByText('Headers (').click();
      await page.getByText('History (').click();
      await page.getByText('Messages (').click();
      await page.getByRole('button', {name: 'Add metadata'}).click();
      await examine('method, all open', '');
      await openMethod(page, given.stream[0]);
      await writeJson(page, given.stream[1]);
      await press(page);
      if (width > 500) await page.evaluate(() => scrollTo(0, 0));
      await examine('stream');
      await writeJson(page, given.failing);
      await page.evaluate(() => document.querySelector('.outcome').remove());
      await press(page);
      await examine('failure', '');
      await page.getByRole('button', {name: 'Copy as …'}).click();
      await examine('copy');
      await page.keyboard.press('Escape');
      if (width < 500) {
        await page.getByRole('button', {name: 'Methods'}).click();
        await examine('list');
      }
    }
    return {};
  },

  // By keyboard alone: find a method, fill in its form, choose a protocol, call, cancel.
  async keyboard() {
    const page = await open();
    const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.textContent || document.activeElement.tagName);
    const tabTo = async (locator) => {
      for (let presses = 0; presses < 60; presses++) {
        if (await locator.evaluate((element) => element === document.activeElement)) return;
        await page.keyboard.press('Tab');
      }
      throw new Error(`no way by Tab to ${locator}; at ${await focused()}`);
    };
    await page.goto(`${consoleUrl}/`);
    await page.locator('.service').first().waitFor();
    await page.keyboard.press('/');
    await page.keyboard.type('echo serverstream');
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('Enter');
    await page.locator('h1', {hasText: 'ServerStream'}).waitFor();
    await tabTo(page.getByLabel('text', {exact: true}));
    await page.keyboard.type('wait');
    await page.keyboard.press('Tab');
    await page.keyboard.type('3');
    await tabTo(page.getByLabel('Protocol'));
    await page.keyboard.press('ArrowDown');
    await tabTo(page.getByRole('button', {name: 'Call', exact: true}));
    await page.keyboard.press('Enter');
    await page.locator('.messages li').nth(5).waitFor();
    await page.keyboard.press('Escape');
    const cancelled = await ended(page);
    const place = await focused();
    await tabTo(page.getByRole('button', {name: 'Copy as …'}));
    await page.keyboard.press('Enter');
    await page.keyboard.press('ArrowRight');
    const copied = await page.locator('dialog pre').textContent();
    await page.keyboard.press('Escape');
    return {status: cancelled.status, place, after: await focused(), copied};
  },

  // A message of every kind of field through the form, as bytes and as JSON.
  async fields() {
    const page = await open();
    const found = {};
    await openMethod(page, 'tests.every_field.v1.Mirror/Reflect');
    await writeJson(page, given);
    await page.getByText('Form', {exact: true}).click();
    for (const protocol of ['grpc-web', 'grpc-web-text', 'grpc-web-json', 'connect', 'connect-json']) {
      await page.getByLabel('Protocol').selectOption(protocol);
      await page.evaluate(() => document.querySelector('.outcome')?.remove());
      const {status, message, messages} = await press(page);
      found[protocol] = [status, message, messages.map((each) => JSON.parse(each))];
    }
    await look(page, 'every field');
    return found;
  },

  // Names, comments, examples, links and responses of attackers are texts; a link calls nothing.
  async hostile() {
    const page = await open();
    const calls = [];
    page.on('request', (request) => request.method() === 'POST' && calls.push(request.url()));
    const link = new URLSearchParams({request: JSON.stringify([{text: given}]), protocol: given, timeout: given});
    await page.goto(`${consoleUrl}/#/many.Service0/Method0`);
    await page.locator('.comment', {hasText: '<script>'}).first().waitFor();
    const nothing = await throughForm(page, '{}');
    const named = await throughForm(page, '{"constructor": "a", "__proto__": "b", "isPrototypeOf": ""}');
    await page.evaluate(() => sessionStorage.setItem('grpc-console-token /', '{"token": "of another app", "header": "authorization"}'));
    await page.reload();
    await page.locator('h1', {hasText: 'Method0'}).waitFor();
    const hasToken = await page.locator('#token').isVisible();
    await page.goto(`${consoleUrl}/#/${given}`);
    await page.getByText('There is no method').waitFor();
    await page.goto(`${consoleUrl}/#/tests.echo.v1.Echo/Unary?${link}`);
    await page.locator('h1', {hasText: 'Unary'}).waitFor();
    await page.getByText('Messages (').click();
    const before = calls.length;
    await page.getByLabel('Deadline').fill('');
    const echoed = await press(page);
    await page.getByLabel('text', {exact: true}).fill('fail');
    await page.evaluate(() => document.querySelector('.outcome').remove());
    const failed = await press(page);
    await page.reload();
    await page.getByText('History (').click();
    const markup = await page.evaluate(() => document.querySelectorAll('img, script:not([src])').length + (globalThis.broken ?? 0));
    return {nothing, named, hasToken, before, echoed: JSON.parse(echoed.messages[0]), failed, markup};
  },

  // 2 000 methods: how long the list takes to filter, and streams that are longer than what is shown.
  async many() {
    const page = await open();
    await page.goto(`${consoleUrl}/`);
    await page.locator('.service').first().waitFor();
    const filtered = await page.evaluate(() => {
      const filter = document.getElementById('filter');
      filter.value = 'service7 method19';
      filter.dispatchEvent(new Event('input'));
      return [document.getElementById('found').textContent, document.querySelectorAll('#services li:not([hidden])').length];
    });
    await look(page, 'many');
    await openMethod(page, 'tests.echo.v1.Echo/ServerStream');
    await writeJson(page, {text: 'x', count: 5000});
    const {status, messages} = await press(page);
    return {filtered, status, shown: messages.length, last: messages.at(-1), notice: await page.locator('.response > .quiet').textContent()};
  },

  // What is copied, for a method and a protocol each.
  async snippets() {
    const page = await open();
    const found = [];
    for (const [name, request, protocol] of given) {
      await openMethod(page, name);
      await writeJson(page, request);
      await page.getByLabel('Protocol').selectOption(protocol);
      await page.getByRole('button', {name: 'Copy as …'}).click();
      const texts = {};
      for (const choice of await page.locator('dialog .segments label').all()) {
        await choice.click();
        texts[await choice.textContent()] = await page.locator('dialog pre').textContent();
      }
      found.push(texts);
      await page.keyboard.press('Escape');
    }
    return found;
  },
};
