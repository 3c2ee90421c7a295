// Opens a page, {"url": …, "steps": [["fill", "Name", "Ann"], …]}, takes the steps, and returns its text in the end.

const SECONDS = 60;

const actions = {
  // Not in each frame: while one is asked for, the page is drawn sixty times a second.
  see: (page, text) => page.waitForFunction((expected) => document.body.innerText.includes(expected), text, {polling: 50}),
  fill: (page, label, text) => page.getByLabel(label).fill(text),
  click: (page, name) => page.getByRole('button', {name}).click(),
  run: (page, code) => page.evaluate(code),
};

class Reloaded extends Error {}

export default async function play(context, given, tries = 5) {
  const page = await context.newPage();
  page.setDefaultTimeout(SECONDS * 1000);
  try {
    return await take(page, given);
  } catch (error) {
    if (!(error instanceof Reloaded && tries)) throw error;
  } finally {
    await page.close();
  }
  await new Promise((resolve) => setTimeout(resolve, 1000));
  return play(context, given, tries - 1);
}

/** Take all steps on one page. A development server may load it anew at any time, and what was typed is gone then. */
async function take(page, {url, steps}) {
  const log = [];
  page.on('pageerror', (error) => log.push(String(error)));
  page.on('console', (message) => log.push(message.text()));
  let isLoading = false;
  const reloaded = new Promise((resolve, reject) => {
    page.on('domcontentloaded', () => isLoading || reject(new Reloaded('the page was loaded anew, again and again')));
    // Of a module that vite prepares anew: its client would load the page again, where it is connected.
    const isOutdated = (response) => response.statusText() === 'Outdated Optimize Dep';
    page.on('response', (response) => isOutdated(response) && reject(new Reloaded(`${response.url()} is outdated`)));
  });
  const load = async (action) => {
    isLoading = true;
    await action;
    isLoading = false;
  };
  const all = async () => {
    await load(page.goto(url));
    for (const [action, ...values] of steps) {
      try {
        await (action === 'reload' ? load(page.reload()) : actions[action](page, ...values));
      } catch (error) {
        const text = await page.innerText('body');
        throw new Error(`${action} ${values}: ${error.message}\nThe page says:\n${text}\nIts log:\n${log.join('\n')}`);
      }
    }
    const refused = log.filter((line) => line.includes('Content Security Policy'));
    if (refused.length) throw new Error(`the page does not keep to its own policy\n${refused.join('\n')}`);
    return page.innerText('body');
  };
  return Promise.race([all(), reloaded]);
}
