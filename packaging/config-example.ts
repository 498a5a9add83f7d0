/** Prints the default configuration file: `node --import tsx packaging/config-example.ts > packaging/config.toml`. */
import { exampleConfig } from '../agent/config/example.ts';

process.stdout.write(exampleConfig());
