// What the theme leaves undone for people who use the keyboard or a screen reader.
(function () {
  "use strict";

  // The first entry of the sidebar, the book's title, belongs to no landmark otherwise.
  var sidebar = document.getElementById("pst-primary-sidebar");
  if (sidebar && !sidebar.hasAttribute("role")) {
    sidebar.setAttribute("role", "region");
    sidebar.setAttribute("aria-label", "Contents of the book");
  }

  // The arrows that unfold pages below a page have no name.
  document.querySelectorAll(".bd-sidebar-primary li.has-children > details > summary").forEach(function (arrow) {
    var page = arrow.closest("li").querySelector("a");
    arrow.setAttribute("aria-label", "Pages below: " + (page ? page.textContent.trim() : ""));
  });

  // Works in a list are its items; the role that they are given is no longer one.
  document.querySelectorAll("[role=doc-biblioentry]").forEach(function (work) {
    work.setAttribute("role", "listitem");
  });

  // What scrolls inside itself can be reached with the keyboard, and only then is a stop on its way.
  var scrolling =
    "pre, div.math, mjx-container[display], .lab-table, .lab-frame, .pst-scrollable-table-container";
  function reach() {
    document.querySelectorAll(".bd-content").forEach(function (content) {
      content.querySelectorAll(scrolling).forEach(function (box) {
        if (box.scrollWidth > box.clientWidth + 1) {
          box.tabIndex = 0;
        } else if (box.tabIndex === 0) {
          box.removeAttribute("tabindex");
        }
      });
      content.querySelectorAll(".lab-table, .lab-frame").forEach(more);
    });
  }

  // A figure or a table that goes on beyond the edge of a narrow screen shows that it does.
  function more(box) {
    var left = box.scrollLeft > 4;
    var right = box.scrollLeft + box.clientWidth < box.scrollWidth - 4;
    if (left || right) {
      box.dataset.more = (left ? "left" : "") + (left && right ? " " : "") + (right ? "right" : "");
    } else {
      delete box.dataset.more;
    }
    var note = box.nextElementSibling;
    var wide = left || right;
    if (!note || !note.classList.contains("lab-more")) {
      if (!wide) {
        return;
      }
      note = document.createElement("p");
      note.className = "lab-more";
      note.textContent = "⟷ Scroll sideways to see all of it";
      box.after(note);
      box.addEventListener("scroll", function () { more(box); }, { passive: true });
    }
    note.hidden = !wide;
  }

  function later() {
    reach();
    if (window.MathJax && MathJax.startup && MathJax.startup.promise) {
      MathJax.startup.promise.then(reach);
    }
  }

  window.addEventListener("load", later);
  window.addEventListener("resize", reach);
  document.addEventListener("toggle", reach, true); // a dropdown that opens
})();
