// node drive.mjs CHROMIUM PROFILE_FOLDER PAGES SERVER
//
// Runs functions of the page, one for each line of standard input, and answers each with a line: {"result": …} or
// {"error": …}. A line is {"run": "runCase", "arguments": […]}, or {"open": "snippet.html"} for what a page logs first.

import {createInterface} from 'node:readline';
import {chromium} from 'playwright-core';

const SECONDS = 15;
const [executablePath, profile, pages, server] = process.argv.slice(2);

const context = await chromium.launchPersistentContext(profile, {
  executablePath,
  timeout: 30_000,
  args: [
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    // The addresses that the snippets have.
    `--host-resolver-rules=MAP 127.0.0.1:8000 ${new URL(server).host},MAP localhost:8000 ${new URL(server).host}`,
  ],
});
context.setDefaultTimeout(SECONDS * 1000);

const page = await context.newPage();
page.on('pageerror', (error) => console.error(error));
await page.goto(`${pages}/index.html`);
console.log(JSON.stringify({result: context.browser()?.version() ?? (await version())}));

for await (const line of createInterface({input: process.stdin})) {
  const command = JSON.parse(line);
  let answer;
  try {
    answer = {result: command.open ? await open(command.open) : await run(command)};
  } catch (error) {
    answer = {error: String(error)};
  }
  console.log(JSON.stringify(answer));
}
await context.close();

function run({run, arguments: given}) {
  const result = page.evaluate(([name, values]) => window[name](...values), [run, [...given, server]]);
  return Promise.race([result, late()]);
}

async function open(name) {
  const snippet = await context.newPage();
  try {
    const [message] = await Promise.all([snippet.waitForEvent('console'), snippet.goto(`${pages}/${name}`)]);
    const values = await Promise.all(message.args().map((value) => value.jsonValue()));
    return {type: message.type(), values};
  } finally {
    await snippet.close();
  }
}

function late() {
  return new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error(`no answer in ${SECONDS} s`)), SECONDS * 1000).unref();
  });
}

async function version() {
  const agent = await page.evaluate(() => navigator.userAgent);
  return agent.match(/Chrome\/([\d.]+)/)[1];
}
