// node steps.mjs CHROMIUM < {"url": …, "steps": [["fill", "Name", "Ann"], …], "hosts": {"localhost:5173": "127.0.0.1:20000"}}
//
// Opens a page, takes steps, and prints its text. `hosts` has the servers that listen elsewhere than the page says.

import {readFileSync} from 'node:fs';
import {chromium} from 'playwright-core';

const SECONDS = 20;
const [executablePath] = process.argv.slice(2);
const {url, steps, hosts} = JSON.parse(readFileSync(0, 'utf8'));
const rules = Object.entries(hosts).map(([host, replacement]) => `MAP ${host} ${replacement}`);

const browser = await chromium.launch({
  executablePath,
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', `--host-resolver-rules=${rules.join(',')}`],
});
const page = await browser.newPage();
page.setDefaultTimeout(SECONDS * 1000);
const log = [];
page.on('pageerror', (error) => log.push(String(error)));
page.on('console', (message) => log.push(message.text()));

const actions = {
  see: (text) => page.waitForFunction((expected) => document.body.innerText.includes(expected), text),
  fill: (label, text) => page.getByLabel(label).fill(text),
  click: (name) => page.getByRole('button', {name}).click(),
  run: (code) => page.evaluate(code),
  reload: () => page.reload(),
};

try {
  await page.goto(url);
  for (const [action, ...values] of steps) {
    try {
      await actions[action](...values);
    } catch (error) {
      const text = await page.evaluate(() => document.body.innerText);
      throw new Error(`${action} ${values}: ${error.message}\nThe page says:\n${text}\nIts log:\n${log.join('\n')}`);
    }
  }
  console.log(JSON.stringify(await page.evaluate(() => document.body.innerText)));
} finally {
  await browser.close();
}
