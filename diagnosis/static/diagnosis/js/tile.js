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
 * Show a cell's tile in `element`, `size` pixels wide. `cell` has number and place: {sprite, columns}.
 * One whose picture is lost says so.
 */
export function paintTile(element, cell, size) {
  const { sprite, columns } = cell.place;
  const known = `${sprite}#${cell.number}@${size}`;
  if (element.dataset.shows === known) return;
  element.dataset.shows = known;
  if (!sprite || !columns) return lose(element, cell);
  element.classList.remove("lost");
  element.style.backgroundImage = `url("${sprite}")`;
  element.style.backgroundSize = `${columns * size}px auto`;
  element.style.backgroundPosition = `${-(cell.number % columns) * size}px ${-Math.floor(cell.number / columns) * size}px`;
  spriteOf(sprite).then((good) => !good && element.dataset.shows === known && lose(element, cell));
}

function lose(element, cell) {
  element.classList.add("lost");
  element.style.backgroundImage = "none";
  element.dataset.lost = `picture of image ${cell.place.position} is lost`;
}
