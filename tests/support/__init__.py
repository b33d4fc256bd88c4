# SPDX-License-Identifier: Apache-2.0
"""The oracle: feeders, collectors and a judge that share no code with the bridge."""
