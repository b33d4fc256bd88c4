# SPDX-License-Identifier: Apache-2.0
"""Judges what arrived against what was sent."""


class Judge:
    """see() takes each message that arrives; the counts are valid at any time.

    lost: not arrived yet. changed: the body or a header differs, or nobody sent it. disordered:
    first arrivals that came after a later order of the same key. duplicates: arrivals of an order
    that had arrived before, which at-least-once delivery allows after a kill.
    """

    def __init__(self, orders):
        self.total = len(orders)
        self.distinct = self.duplicates = self.changed = self.disordered = 0
        self._sent = {order.identity: (place, order) for place, order in enumerate(orders)}
        self._arrived = set()
        self._latest = {}  # by key: the place of the latest order that arrived

    @property
    def lost(self):
        return self.total - self.distinct

    def see(self, properties, body):
        headers = dict(properties.headers or {})
        if properties.content_type is not None:
            headers["content-type"] = properties.content_type
        place, order = self._sent.get(headers.get("x-event-id"), (None, None))
        if order is None:
            self.changed += 1
            return
        if body != order.body or any(headers.get(n) != v for n, v in order.headers.items()):
            self.changed += 1
        if order.identity in self._arrived:
            self.duplicates += 1
            return
        self._arrived.add(order.identity)
        self.distinct += 1
        if place < self._latest.get(order.key, -1):
            self.disordered += 1
        self._latest[order.key] = max(place, self._latest.get(order.key, -1))
