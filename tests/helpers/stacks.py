"""A stack that trains for so many steps; without anything that `make gpu-check` would lack."""

from capacity.train.loop import Stack, advance


def trained(configs, until, device, stepper=None):
    """The stack and its state after `until` steps; stepper: what makes a step, as `loop.plain` and
    `loop.record`."""
    stack = Stack(configs, device)
    state = stack.start()
    if stepper:
        stack._recorded = state, stepper(stack, state)
    advance(stack, state, until, lambda: False)
    return stack, state
