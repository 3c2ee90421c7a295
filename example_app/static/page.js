import { call } from "./grpcweb.js";

const prefix = document.body.dataset.prefix;

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

onSubmit(document.getElementById("dice"), async (fields) => {
  const rolls = document.getElementById("rolls");
  rolls.replaceChildren();
  const request = { sides: Number(fields.get("sides")), target: Number(fields.get("target")) };
  for await (const { value } of call(`${prefix}/example.dice.v1.Dice/RollUntil`, request)) {
    rolls.append(Object.assign(document.createElement("li"), { textContent: value }));
  }
  return `status 0, ${rolls.childElementCount} messages`;
});
document.getElementById("dice").requestSubmit();
