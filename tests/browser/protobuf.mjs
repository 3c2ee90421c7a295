// node protobuf.mjs PROTOBUF_JS, with {schema, messages: [[type, bytes in base64, JSON], …]} as JSON on standard input.
//
// Prints what the console makes of each: [the JSON of its bytes, the bytes of its JSON], or what is wrong with one.

import {readFileSync} from 'node:fs';

const source = readFileSync(process.argv[2]).toString('base64');
const {decode, encode, fromBase64, parseJson, toBase64} = await import(`data:text/javascript;base64,${source}`);
const {schema, messages} = JSON.parse(readFileSync(0, 'utf8'));

function attempt(action) {
  try {
    return action();
  } catch (error) {
    return {error: String(error)};
  }
}

const found = messages.map(([type, bytes, json]) => [
  attempt(() => JSON.stringify(decode(schema, type, fromBase64(bytes)))),
  attempt(() => toBase64(encode(schema, type, parseJson(json)))),
]);
console.log(JSON.stringify(found));
