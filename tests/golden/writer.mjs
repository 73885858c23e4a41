// Writes a valid run in the directory that is its argument, with nothing but FORMAT.md. node writer.mjs DIR/RUN
import { openSync, writeSync, mkdirSync } from "node:fs";
import { randomBytes } from "node:crypto";
import { basename } from "node:path";
const directory = process.argv[2], run = basename(directory), letters = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
mkdirSync(directory, { recursive: true });
const file = openSync(`${directory}/events.jsonl`, "ax");
let last = 0n;
const next = () => (last = BigInt(Math.max(Date.now(), Number(last >> 80n) + 1)) << 80n | BigInt("0x" + randomBytes(10).toString("hex")));
const ulid = (id) => Array.from({ length: 26 }, (_, i) => letters[Number(id >> BigInt(125 - 5 * i) & 31n)]).join("");
const hex = (id, digits) => id.toString(16).padStart(32, "0").slice(-digits);
const now = () => new Date().toISOString().replace("Z", "000Z");
function write(type, name, at, fields) {
  const id = next(), own = at.span ?? id, { details, links, agent_id, caused_by, started_at, resource } = fields;
  const line = { event_id: ulid(id), timestamp: now(), turn_number: at.turn, event_type: type, simulation_id: run,
    agent_id, caused_by, details, name, phase: fields.phase, started_at, trace_id: hex(at.trace ?? id, 32),
    span_id: hex(own, 16), parent_span_id: at.parent && hex(at.parent, 16), links, resource, v: 1 };
  writeSync(file, JSON.stringify(line) + "\n"); // undefined fields are left out
  return { id, ulid: line.event_id, at: line.timestamp, context: `${line.trace_id}-${line.span_id}` };
}
const named = { milestone_type: "simulation_start", name: "walk" }, links = (scope) => ({ [scope.ulid]: scope.context });
const opened = write("MILESTONE", "run", { turn: 0 }, { phase: "open", details: named, resource: { "service.name": "walk" } });
const turn = write("MILESTONE", "turn", { turn: 1 }, { phase: "open", links: links(opened) });
write("ACTION", "action.walk", { turn: 1, trace: turn.id, parent: turn.id }, { agent_id: "ada", caused_by: [turn.ulid] });
write("MILESTONE", "turn", { turn: 1, trace: turn.id, span: turn.id }, { phase: "close", started_at: turn.at, links: links(opened) });
write("MILESTONE", "run", { turn: 0, trace: opened.id, span: opened.id }, { phase: "close", started_at: opened.at, details: named });
