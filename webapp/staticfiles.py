"""How static files are named: by what they hold, scripts of ours that import one another included."""

from django.contrib.staticfiles.storage import HashedFilesMixin
from whitenoise.storage import CompressedManifestStaticFilesStorage

_IMPORT = r"""(?m)(?P<matched>^(?P<what>import|export)(?P<names>[^"';]*?)\s*["'](?P<url>\./[^"']+)["'];)"""
_HASHED = """%(what)s%(names)s "%(url)s";"""


class HashedStaticFiles(CompressedManifestStaticFilesStorage):  # type: ignore[misc]  # it comes without types
    """Names end with a hash of the content, also in the `import` of a module, so browsers keep every file for good and
    never mix the scripts of two versions.

    Our modules must not import each other in a circle: neither hash could be first. Those of packages are left as they
    come (`support_js_module_import_aggregation` takes all): some name files in their comments that nobody has.
    """

    patterns = (*HashedFilesMixin.patterns, ("diagnosis/js/*.js", ((_IMPORT, _HASHED),)))
