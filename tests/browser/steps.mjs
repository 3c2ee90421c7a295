// Opens a page, {"url": …, "steps": [["fill", "Name", "Ann"], …]}, takes the steps, and returns its text in the end.

const SECONDS = 60;

const actions = {
  // Not in each frame: while one is asked for, the page is drawn sixty times a second.
  see: (page, text) => page.waitForFunction((expected) => document.body.innerText.includes(expected), text, {polling: 50}),
  fill: (page, label, text) => page.getByLabel(label).fill(text),
  click: (page, name) => page.getByRole('button', {name}).click(),
  run: (page, code) => page.evaluate(code),
};

/** A development server begins anew at any time: when its configuration changes, or its packages are prepared. */
class Restarted extends Error {}

const OF_A_PAGE = ['document', 'script', 'stylesheet'];
const NOBODY_ANSWERS = /net::ERR_(CONNECTION|EMPTY|SOCKET|INCOMPLETE)/;

export default async function play(context, given, tries = 10) {
  const page = await context.newPage();
  page.setDefaultTimeout(SECONDS * 1000);
  try {
    return await take(page, given);
  } catch (error) {
    if (!(error instanceof Restarted && tries)) throw error;
  } finally {
    await page.close();
  }
  await new Promise((resolve) => setTimeout(resolve, 1000));
  return play(context, given, tries - 1);
}

/** Take all steps on one page, on which nothing is left of what was typed when its server begins anew. */
async function take(page, {url, steps}) {
  const log = [];
  page.on('pageerror', (error) => log.push(String(error)));
  page.on('console', (message) => log.push(message.text()));
  let isLoading = false;
  const restarted = new Promise((resolve, reject) => {
    const restart = (reason) => reject(new Restarted(`${reason}, again and again`));
    page.on('domcontentloaded', () => isLoading || restart('the page was loaded anew'));
    page.on('requestfailed', (request) => {
      const text = request.failure().errorText;
      if (OF_A_PAGE.includes(request.resourceType()) && NOBODY_ANSWERS.test(text)) restart(`${request.url()}: ${text}`);
    });
    // Of vite, while it restarts or prepares a module anew.
    page.on('response', (response) => {
      const isOutdated = response.status() === 504 && OF_A_PAGE.includes(response.request().resourceType());
      if (isOutdated) restart(`${response.url()}: ${response.statusText()}`);
    });
  });
  const load = async (action) => {
    isLoading = true;
    await action;
    isLoading = false;
  };
  const all = async () => {
    const refuse = (error) => {
      throw NOBODY_ANSWERS.test(error.message) ? new Restarted(error.message) : error;
    };
    await load(page.goto(url).catch(refuse));
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
  return Promise.race([all(), restarted]);
}
