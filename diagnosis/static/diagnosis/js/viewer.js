// The viewer: OpenSeadragon on one stored image, with the saliency picture multiplied over it.

const PROCESSED = "processed";
const MULTIPLY = "multiply"; // the overlay lies on a bright field: screen would wash the stain out

/** Deep zoom of one smear image. `onZoom(percent)` hears of every change of magnification, `onDrawn` of the first picture. */
export class Viewer {
  #osd;
  #subject = null;
  #overlay = null;
  #overlayUrl = "";
  #baseUrl = "";
  #opacity = 0.7;
  #visible = true;
  #method = "";
  #mode = "image";
  #onZoom;
  #onError;
  #boxes = [];
  #wanted = null;
  #looked = null;
  #still = matchMedia("(prefers-reduced-motion: reduce)").matches;

  constructor(element, { onZoom = () => {}, onError = () => {}, onDrawn = () => {} } = {}) {
    this.#onZoom = onZoom;
    this.#onError = onError;
    // It writes its own message over the picture; ours says what to do.
    window.OpenSeadragon.setString("Errors.OpenFailed", " ");
    this.#osd = window.OpenSeadragon({
      element,
      drawer: "canvas", // every machine has it, and it alone multiplies without a second context
      showNavigationControl: false,
      gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true, flickEnabled: false },
      maxZoomPixelRatio: 6,
      minZoomImageRatio: 0.8,
      visibilityRatio: 0.4,
      springStiffness: 10,
      animationTime: this.#still ? 0 : 0.35,
      immediateRender: true,
      imageSmoothingEnabled: true,
      crossOriginPolicy: false,
      preserveImageSizeOnResize: true,
      // The dark stage of the page shows through.
      placeholderFillStyle: null,
    });
    // The arrow keys and letters belong to the page, not to the canvas.
    this.#osd.innerTracker.keyDownHandler = null;
    this.#osd.innerTracker.keyHandler = null;
    this.#osd.canvas.setAttribute("role", "img");
    this.#osd.canvas.setAttribute("aria-label", "Smear image; drag to move, scroll to zoom");
    const tell = () => this.#onZoom(this.percent);
    this.#osd.addHandler("zoom", tell);
    this.#osd.addHandler("resize", tell);
    this.#osd.addHandler("open", () => {
      tell();
      this.#showOverlay();
      this.#showBoxes();
    });
    this.#osd.addHandler("open-failed", () => this.#onError());
    this.#osd.addOnceHandler("tile-drawn", onDrawn);
  }

  /**
   * Show an image. `subject` has id, file, processed (address or ""), and overlays ({method: address}).
   * The image that is shown already keeps its place and zoom: only the overlay is brought up to date.
   */
  show(subject) {
    const same = this.#subject?.id === subject.id;
    this.#subject = subject;
    if (!same) this.#mode = "image";
    if (this.#mode === PROCESSED && !subject.processed) this.#mode = "image";
    this.#load();
  }

  /** Show nothing. */
  clear() {
    this.#subject = null;
    this.#baseUrl = "";
    this.boxes = [];
    this.#dropOverlay();
    this.#osd.close();
  }

  /** "image" (as uploaded) or "processed" (what the network saw). */
  set mode(mode) {
    this.#mode = mode;
    if (this.#subject) this.#load();
  }

  get mode() {
    return this.#mode;
  }

  set method(method) {
    this.#method = method;
    this.#showOverlay();
  }

  set overlayVisible(visible) {
    this.#visible = visible;
    this.#overlay?.setOpacity(this.#shownOpacity());
    this.#showOverlay();
  }

  get overlayVisible() {
    return this.#visible;
  }

  /** 0 to 1. */
  set opacity(opacity) {
    this.#opacity = opacity;
    this.#overlay?.setOpacity(this.#shownOpacity());
  }

  /** Boxes of cells over the image: [{id, box: [x, y, width, height] in its pixels, word, blast, border}]. */
  set boxes(boxes) {
    this.#boxes = boxes;
    this.#showBoxes();
  }

  /** Go to one of the boxes and mark it; null goes nowhere. */
  set wanted(id) {
    this.#wanted = id;
    this.#showBoxes();
  }

  /** Magnification in percent, once it has settled: at 100 one pixel of the image is one pixel of the page. */
  get percent() {
    const item = this.#osd.world.getItemAt(0);
    return item ? Math.round(item.viewportToImageZoom(this.#osd.viewport.getZoom()) * 100) : null;
  }

  /** Multiply the magnification. */
  zoom(factor) {
    if (!this.#osd.world.getItemCount()) return;
    this.#osd.viewport.zoomBy(factor);
    this.#osd.viewport.applyConstraints();
  }

  /** One pixel of the image on one pixel of the page. */
  actualSize() {
    const item = this.#osd.world.getItemAt(0);
    if (item) this.#osd.viewport.zoomTo(item.imageToViewportZoom(1));
  }

  fit() {
    if (this.#osd.world.getItemCount()) this.#osd.viewport.goHome(this.#still);
  }

  #shownOpacity() {
    return this.#visible ? this.#opacity : 0;
  }

  #load() {
    const url = this.#mode === PROCESSED ? this.#subject.processed : this.#subject.file;
    if (url === this.#baseUrl) return this.#showOverlay();
    this.#baseUrl = url;
    this.#dropOverlay();
    this.#osd.open({ type: "image", url, buildPyramid: false });
  }

  /** Draw the boxes, as elements that follow every zoom; what the network saw is squashed, and shows none. */
  #showBoxes() {
    this.#osd.clearOverlays();
    const item = this.#osd.world.getItemAt(0);
    if (!item || this.#mode === PROCESSED) return;
    for (const one of this.#boxes) {
      const element = document.createElement("div");
      element.className = "cellbox";
      element.dataset.cell = one.id;
      element.classList.toggle("blast", one.blast);
      element.classList.toggle("border", one.border);
      element.classList.toggle("wanted", one.id === this.#wanted);
      const word = document.createElement("b");
      word.textContent = (one.blast ? "▲ " : "") + one.word + (one.border ? ", edge" : "");
      element.append(word);
      const place = item.imageToViewportRectangle(...one.box);
      this.#osd.addOverlay({ element, location: place });
      if (one.id === this.#wanted) this.#lookAt(place);
    }
  }

  /** Bring a place into view with its surroundings, once: the reader moves on from there. */
  #lookAt(place) {
    if (this.#looked === this.#wanted) return;
    this.#looked = this.#wanted;
    const { x, y, width, height } = place;
    const around = new window.OpenSeadragon.Rect(x - 2 * width, y - 2 * height, 5 * width, 5 * height);
    this.#osd.viewport.fitBounds(around, this.#still);
  }

  #dropOverlay() {
    this.#overlayUrl = "";
    if (this.#overlay) this.#osd.world.removeItem(this.#overlay);
    this.#overlay = null;
  }

  /** Lay the chosen method's picture over the image: loaded once it is asked for, and never twice. */
  #showOverlay() {
    let url = this.#subject?.overlays[this.#method] ?? "";
    if (url && this.#mode === PROCESSED) url += "&frame=processed";
    if (!url || url !== this.#overlayUrl) this.#dropOverlay();
    if (!url || url === this.#overlayUrl || !this.#visible || !this.#osd.world.getItemCount()) return;
    this.#overlayUrl = url;
    this.#osd.addTiledImage({
      tileSource: { type: "image", url, buildPyramid: false },
      width: 1,
      opacity: this.#shownOpacity(),
      compositeOperation: MULTIPLY,
      success: ({ item }) => {
        // While it loaded the reader may have gone on to another image or method.
        if (this.#overlayUrl !== url) return this.#osd.world.removeItem(item);
        this.#overlay = item;
        item.setOpacity(this.#shownOpacity());
      },
    });
  }
}
