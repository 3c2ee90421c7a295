// node steps.mjs CHROMIUM [HOST=OTHER_HOST …]
//
// Opens a page for each line of standard input, {"url": …, "steps": [["fill", "Name", "Ann"], …]}, takes the steps, and
// prints a line: {"text": …}, which is on the page in the end, or {"error": …}. The hosts are servers that listen
// elsewhere than the pages say.

import {createInterface} from 'node:readline';
import {chromium} from 'playwright-core';

const SECONDS = 60;
const [executablePath, ...hosts] = process.argv.slice(2);
const rules = hosts.map((pair) => `MAP ${pair.replace('=', ' ')}`).join(',');
const browser = await chromium.launch({
  executablePath,
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', `--host-resolver-rules=${rules}`],
});

const actions = {
  see: (page, text) => page.waitForFunction((expected) => document.body.innerText.includes(expected), text),
  fill: (page, label, text) => page.getByLabel(label).fill(text),
  click: (page, name) => page.getByRole('button', {name}).click(),
  run: (page, code) => page.evaluate(code),
  reload: (page) => page.reload(),
};

for await (const line of createInterface({input: process.stdin})) {
  console.log(JSON.stringify(await visit(JSON.parse(line))));
}
await browser.close();

async function visit({url, steps}) {
  const page = await browser.newPage();
  page.setDefaultTimeout(SECONDS * 1000);
  const log = [];
  page.on('pageerror', (error) => log.push(String(error)));
  page.on('console', (message) => log.push(message.text()));
  let taken;
  try {
    await page.goto(url);
    for (taken of steps) await actions[taken[0]](page, ...taken.slice(1));
    return {text: await page.innerText('body')};
  } catch (error) {
    return {error: `${taken}: ${error.message}\nThe page says:\n${await page.innerText('body')}\nIts log:\n${log.join('\n')}`};
  } finally {
    await page.close();
  }
}
