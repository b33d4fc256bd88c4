# SPDX-License-Identifier: Apache-2.0
"""What the bridge is compared with: how it is installed, set up and run."""
