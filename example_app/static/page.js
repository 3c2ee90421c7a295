import { call } from "./grpcweb.js";

const prefix = document.body.dataset.prefix;

function row(...cells) {
  const tr = document.createElement("tr");
  for (const text of cells) tr.insertCell().textContent = text;
  return tr;
}

// Runs `action` when the form is sent, and shows in the form's output how the call went.
function onSubmit(form, action) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const [button, output] = [form.querySelector("button"), form.querySelector("output")];
    button.disabled = true;
    output.className = "";
    output.textContent = "…";
    try {
      output.textContent = await action(new FormData(form));
    } catch (error) {
      output.className = "error";
      output.textContent = error.message;
    }
    button.disabled = false;
  });
}

const repositories = document.getElementById("repositories");
if (repositories) {
  onSubmit(repositories, async (fields) => {
    const rows = document.getElementById("repository-rows");
    rows.replaceChildren();
    const path = `${prefix}/sentry.integrations.scm.v1.ScmService/ListRepositories`;
    for await (const message of call(path, { organizationId: fields.get("organization") })) {
      for (const { id, name, url, dateAdded } of message.repositories ?? []) {
        rows.append(row(id, name, url || "–", new Date(dateAdded).toLocaleString()));
      }
    }
    return `status 0, ${rows.childElementCount} repositories`;
  });
  repositories.requestSubmit();
}

onSubmit(document.getElementById("dice"), async (fields) => {
  const rolls = document.getElementById("rolls");
  rolls.replaceChildren();
  const request = { sides: Number(fields.get("sides")), target: Number(fields.get("target")) };
  for await (const { value } of call(`${prefix}/example.dice.v1.Dice/RollUntil`, request)) {
    rolls.append(Object.assign(document.createElement("li"), { textContent: value }));
  }
  return `status 0, ${rolls.childElementCount} messages`;
});
