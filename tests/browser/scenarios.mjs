// node scenarios.mjs CHROMIUM [HOST=OTHER_HOST …]
//
// One Chromium for many tests. Each line of standard input names a module here and what it is given,
// {"scenario": "console.mjs", "given": …}; its function gets a context in which nothing is kept, and what is given. The line
// printed is {"result": …} or {"error": …}.
// The hosts are servers that listen elsewhere than the pages say.

import {createInterface} from 'node:readline';
import {chromium} from 'playwright-core';

const [executablePath, ...hosts] = process.argv.slice(2);
const rules = hosts.map((pair) => `MAP ${pair.replace('=', ' ')}`).join(',');
const browser = await chromium.launch({
  executablePath,
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', `--host-resolver-rules=${rules}`],
});
// Scenarios open their pages in it. A window of one's own takes three times as long as a tab of one that stays.
const context = await browser.newContext({acceptDownloads: false});
await context.newPage();
console.log(JSON.stringify({result: browser.version()}));

for await (const line of createInterface({input: process.stdin})) {
  const {scenario, given} = JSON.parse(line);
  let answer;
  try {
    const {default: play} = await import(`./${scenario}`);
    answer = {result: await play(context, given)};
  } catch (error) {
    answer = {error: String(error.stack ?? error)};
  }
  for (const page of context.pages().slice(1)) await page.close();
  await context.setStorageState({cookies: [], origins: []});
  console.log(JSON.stringify(answer));
}
await browser.close();
