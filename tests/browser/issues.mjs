// Given {"url": …, "token": …, "organization": …, "project": …, "stacktrace": …, "steps": […]}, opens the issue of the first
// suspect on the console's page of suspects, and takes steps: {"fill": {label: text}}, {"choose": integration},
// {"press": button}, {"look": name}. Returns what is seen at each look, and where axe finds fault at the last one.

import {readFileSync} from 'node:fs';

import {open} from './suspects.mjs';

const axe = readFileSync(new URL('node_modules/axe-core/axe.min.js', import.meta.url), 'utf8');

export default async function play(context, given) {
  const {page, errors} = await open(context, given, given.width);
  for (const name of ['organization', 'project', 'stacktrace']) await page.fill(`#${name}`, given[name]);
  await page.click('#find');
  await page.waitForSelector('.suspects .issue');
  const view = page.locator('.suspects .issue').first();
  await view.locator('summary').first().focus();
  await page.keyboard.press('Enter');
  await view.locator('.issue-form, .wrong, .quiet').first().waitFor();
  const seen = {};
  for (const step of given.steps) {
    if (step.choose) await view.getByLabel('Integration', {exact: true}).selectOption({label: step.choose});
    for (const [label, text] of Object.entries(step.fill ?? {})) await view.getByLabel(label, {exact: true}).fill(text);
    if (step.press) await view.getByRole('button', {name: step.press, exact: true}).click();
    // Until no call is under way: buttons are free again, and the fields are described.
    await page.waitForTimeout(step.wait ?? 0);
    await page.waitForFunction(() => !document.querySelector('.issue-form button:disabled'));
    if (step.await) await view.locator(step.await).first().waitFor();
    if (step.look) seen[step.look] = await page.evaluate(facts);
  }
  await page.evaluate(axe).catch((error) => errors.push(String(error)));
  const {violations} = await page.evaluate(() => window.axe.run({resultTypes: ['violations']}));
  return {seen, errors, violations: violations.map((each) => `${each.id} at ${each.nodes.map((node) => node.target)}`)};
}

function facts() {
  const view = document.querySelector('.issue');
  const texts = (selector) => [...view.querySelectorAll(selector)].filter((each) => each.checkVisibility()).map((each) => each.textContent);
  return {
    integrations: [...view.querySelectorAll('select option')].map((each) => each.textContent),
    fields: Object.fromEntries([...view.querySelectorAll('.issue-fields input')].map((each) => [each.name, [each.required, each.placeholder, [...(each.list?.options ?? [])].map((option) => option.value)]])),
    title: view.querySelector('.issue-form > .issue-field input')?.value,
    description: view.querySelector('textarea')?.value,
    wrong: texts('.wrong'),
    done: texts('.done'),
    links: [...view.querySelectorAll('a')].map((each) => each.href),
    results: texts('.issue-results li'),
    invalid: [...view.querySelectorAll('[aria-invalid=true]')].map((each) => each.name || each.labels[0].textContent),
    text: view.textContent,
    focus: document.activeElement?.className,
    elements: document.querySelectorAll('main img, main script, main iframe').length,
    overflow: document.documentElement.scrollWidth - innerWidth,
  };
}
