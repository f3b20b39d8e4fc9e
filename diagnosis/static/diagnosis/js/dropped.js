// What was dropped: files, and the files inside folders however deep.

/** Whether a drag carries files (and not, say, selected text). */
export const carriesFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");

/** Files that systems leave in folders and nobody means to upload. */
const isLitter = (name) => name.startsWith(".") || name === "Thumbs.db" || name === "desktop.ini";

function readAll(reader) {
  // readEntries gives at most 100 entries a call and ends with an empty list.
  return new Promise((resolve, reject) => {
    const all = [];
    const more = () => reader.readEntries((some) => (some.length ? (all.push(...some), more()) : resolve(all)), reject);
    more();
  });
}

async function filesOf(entry) {
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const inside = (await readAll(entry.createReader())).filter((child) => !isLitter(child.name));
  inside.sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
  const found = [];
  for (const child of inside) found.push(...(await filesOf(child)));
  return found;
}

/** All files of a drop event, folders opened, in the order of their names within a folder. */
export async function droppedFiles(event) {
  // Entries must be taken before the first await: the list empties when the event is over.
  const items = [...event.dataTransfer.items].filter((item) => item.kind === "file");
  const entries = items.map((item) => item.webkitGetAsEntry?.() ?? null);
  if (!entries.length || entries.includes(null)) return [...event.dataTransfer.files];
  const found = [];
  for (const entry of entries) found.push(...(await filesOf(entry)));
  return found;
}

/** Files of a folder chosen in the picker, without the litter. */
export const chosenFiles = (list) => [...list].filter((file) => !isLitter(file.name));
