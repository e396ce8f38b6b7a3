"""What of an answer is final while its search goes on."""

import os.path
from collections.abc import Iterable

from etsearch.loop.events import Selected
from etsearch.tree import SearchTree


class DecidedText:
    """The text that all trajectories begin with of which one will be the answer.

    Those are the ones that have ended and the ones that go on from what was kept; whatever is written later begins as
    one of them does. So what they share is final, and grows; where a strategy reaches back, nothing is before the end.
    """

    def __init__(self) -> None:
        self.text = ""
        """All that is final so far."""

    def take(self, event: Selected) -> str:
        """What became final with a depth."""
        if not event.is_final:
            return ""
        state, summary = event.state, event.summary
        kept = [node for node, width in zip(summary.nodes, summary.widths, strict=True) if width > 0]
        return self.grow(state.tree, [*state.ended, *kept])

    def grow(self, tree: SearchTree, nodes: Iterable[int]) -> str:
        """What becomes final when one of these trajectories, or one that begins with one of them, is the answer."""
        texts = [tree.trajectory(node).text for node in dict.fromkeys(map(tree.original, nodes))]
        shared = os.path.commonprefix(texts)  # noqa: RUF071 - letter by letter is what is wanted
        if len(shared) <= len(self.text):
            return ""
        more, self.text = shared[len(self.text) :], shared
        return more

    def finish(self, answer: str) -> str:
        """What is still missing of the answer."""
        assert answer.startswith(self.text), (self.text, answer)
        more, self.text = answer[len(self.text) :], answer
        return more
