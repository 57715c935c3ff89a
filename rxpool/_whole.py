"""All of rxpool, for the fork server: so no worker has to import what its program does."""

import rxpool

__all__ = ()

for _name in rxpool.__all__:
    getattr(rxpool, _name)
for _name in rxpool.operators.__all__:
    getattr(rxpool.operators, _name)
