// Runs before the first paint: what needs no script hides itself in favour of what does.
document.documentElement.classList.add("js");
