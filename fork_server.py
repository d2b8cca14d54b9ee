"""Imported by the fork server alone, before all else that it preloads: it ends with the daemon, however that ends.

Left to itself it ends when the pipe from the daemon is closed, but each of its children has that pipe's other end
as well: one that is busy, and does not look, would keep the fork server alive, and itself with it.
"""

from parent_death import end_with_parent

end_with_parent()
