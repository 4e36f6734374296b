// ONNX Runtime Web (wasm, one thread) under Node.js; the protocol is that of serve.py beside this file.
// Arguments: the library's entry module, the model, the options (none are used).
import { readFileSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [library, model] = process.argv.slice(2);

const answer = (content) => writeSync(1, JSON.stringify(content) + "\n");
for (const kind of ["log", "info", "debug"]) console[kind] = console.error; // standard output is the parent's alone

// NumPy's type codes: the library's name of the type, and the array that holds it.
const TYPES = {
  "<f4": ["float32", Float32Array],
  "<f8": ["float64", Float64Array],
  "<f2": ["float16", Uint16Array],
  "|i1": ["int8", Int8Array],
  "|u1": ["uint8", Uint8Array],
  "<i2": ["int16", Int16Array],
  "<u2": ["uint16", Uint16Array],
  "<i4": ["int32", Int32Array],
  "<u4": ["uint32", Uint32Array],
  "<i8": ["int64", BigInt64Array],
  "<u8": ["uint64", BigUint64Array],
  "|b1": ["bool", Uint8Array],
};
const CODES = Object.fromEntries(Object.entries(TYPES).map(([code, [name]]) => [name, code]));

function readNpy(ort, path) {
  const bytes = readFileSync(path);
  const long = bytes[6] > 1;
  const start = (long ? 12 : 10) + (long ? bytes.readUInt32LE(8) : bytes.readUInt16LE(8));
  const header = bytes.toString("latin1", long ? 12 : 10, start);
  const code = /'descr': '([^']+)'/.exec(header)[1];
  if (!(code in TYPES)) throw new Error(`arrays of type ${code} are not known`);
  if (/'fortran_order': True/.test(header)) throw new Error("arrays in Fortran order are not known");
  const shape = (/'shape': \(([^)]*)\)/.exec(header)[1].match(/\d+/g) ?? []).map(Number);
  const [type, Kind] = TYPES[code];
  const data = new Uint8Array(bytes.subarray(start)); // a copy, which begins where its elements are aligned
  return new ort.Tensor(type, new Kind(data.buffer, 0, data.byteLength / Kind.BYTES_PER_ELEMENT), shape);
}

function writeNpy(path, tensor) {
  const sizes = tensor.dims.join(", ") + (tensor.dims.length === 1 ? "," : "");
  const text = `{'descr': '${CODES[tensor.type]}', 'fortran_order': False, 'shape': (${sizes}), }`;
  const padded = text.padEnd(Math.ceil((text.length + 11) / 64) * 64 - 11) + "\n";
  const head = Buffer.alloc(10);
  head.write("\x93NUMPY\x01\x00", "latin1");
  head.writeUInt16LE(padded.length, 8);
  const { buffer, byteOffset, byteLength } = tensor.data;
  writeFileSync(path, Buffer.concat([head, Buffer.from(padded, "latin1"), Buffer.from(buffer, byteOffset, byteLength)]));
}

const described = (error) => String(error?.message ?? error).split(/\s+/).join(" ");

async function main() {
  let ort, session;
  try {
    ort = await import(pathToFileURL(library).href);
    ort.env.wasm.numThreads = 1;
    ort.env.logLevel = "error";
    session = await ort.InferenceSession.create(readFileSync(model), { executionProviders: ["wasm"] });
  } catch (error) {
    answer({ error: described(error) });
    return;
  }
  answer({ facts: {} });
  for await (const line of createInterface({ input: process.stdin })) {
    const request = JSON.parse(line);
    try {
      const feeds = Object.entries(request.inputs).map(([name, file]) => [name, readNpy(ort, file)]);
      const outputs = await session.run(Object.fromEntries(feeds));
      const files = Object.entries(outputs).map(([name, tensor], index) => {
        const path = join(request.folder, `out${index}.npy`);
        writeNpy(path, tensor);
        return [name, path];
      });
      answer({ outputs: Object.fromEntries(files) });
    } catch (error) {
      answer({ error: described(error) });
    }
  }
}

await main();
process.exit(0);
