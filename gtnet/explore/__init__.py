"""A page that shows a reader and its graphs at work: draw, look, touch, learn. `gtnet explore`.

A small server on this machine, for one person: `application` is what it serves, `serve` runs it.
Nothing on the page comes from elsewhere. Needs the extra `explore`.
"""

from gtnet.explore.app import application as application
from gtnet.explore.server import serve as serve
