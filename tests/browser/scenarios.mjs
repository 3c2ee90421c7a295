// node scenarios.mjs CHROMIUM [HOST=OTHER_HOST …]
//
// One Chromium for many tests. Each line of standard input names a module here and what it is given,
// {"scenario": "console.mjs", "given": …}; its function gets both, and the line printed is {"result": …} or {"error": …}.
// The hosts are servers that listen elsewhere than the pages say.

import {createInterface} from 'node:readline';
import {chromium} from 'playwright-core';

const [executablePath, ...hosts] = process.argv.slice(2);
const rules = hosts.map((pair) => `MAP ${pair.replace('=', ' ')}`).join(',');
const browser = await chromium.launch({
  executablePath,
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', `--host-resolver-rules=${rules}`],
});
console.log(JSON.stringify({result: browser.version()}));

for await (const line of createInterface({input: process.stdin})) {
  const {scenario, given} = JSON.parse(line);
  let answer;
  try {
    const {default: play} = await import(`./${scenario}`);
    answer = {result: await play(browser, given)};
  } catch (error) {
    answer = {error: String(error.stack ?? error)};
  }
  for (const context of browser.contexts()) await context.close();
  console.log(JSON.stringify(answer));
}
await browser.close();
