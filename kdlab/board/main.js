/* What the address asks for. */

document.querySelector(".bar").append(kd.themeButton());

const place = decodeURIComponent(location.pathname);
const content = kd.byId("content");
if (place.startsWith("/study/")) showStudy(content, place.slice("/study/".length));
else showStudies(content);
