// A tile: one cell's place in the sprite of its image, as the background of an element.

const sprites = new Map();

/** Load a sprite once; whoever shows a tile of one that can't be loaded hears of it. */
function spriteOf(url) {
  if (!sprites.has(url)) {
    const picture = new Image();
    picture.src = url;
    sprites.set(url, picture.decode().then(() => true, () => false));
  }
  return sprites.get(url);
}

/**
 * Show a cell's tile in `element`, `size` pixels wide. `cell` has number and place: {sprite, columns}; its `picture`,
 * where the page brought one along, is seen until the sprite has come. One whose picture is lost says so.
 */
export function paintTile(element, cell, size) {
  const { sprite, columns } = cell.place;
  const known = `${sprite}#${cell.number}@${size}`;
  if (element.dataset.shows === known) return;
  element.dataset.shows = known;
  if (!sprite || !columns) return lose(element, cell);
  element.classList.remove("lost");
  const [left, top] = [-(cell.number % columns) * size, -Math.floor(cell.number / columns) * size];
  element.style.backgroundImage = `url("${sprite}")${cell.picture ? `, url("${cell.picture}")` : ""}`;
  element.style.backgroundSize = `${columns * size}px auto, ${size}px`;
  element.style.backgroundPosition = `${left}px ${top}px, 0 0`;
  spriteOf(sprite).then((good) => !good && element.dataset.shows === known && lose(element, cell));
}

function lose(element, cell) {
  element.classList.add("lost");
  element.style.backgroundImage = "none";
  element.dataset.lost = `picture of image ${cell.place.position} is lost`;
}
