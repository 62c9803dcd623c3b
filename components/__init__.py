"""What a mail host consists of in Pulumi's graph: one ComponentResource per concern, one file each."""

# The program's folder has left sys.path when the components are imported (`__main__.py`), so these are found here.
import host.build  # noqa: F401 because only its place is wanted
import model  # noqa: F401 because only its place is wanted
