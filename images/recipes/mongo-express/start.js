// Starts mongo-express as the upstream image does: one address made of the documented variables, and not before the
// database lets us in. Begun too early, mongo-express would ask its visitors for the database's password for ever.
import { createRequire } from 'node:module';
import process from 'node:process';

// Process 1 of a container ignores what it does not handle.
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => process.exit(0));
}

const PATIENCE_MS = 60_000;
const env = process.env;
const require = createRequire(import.meta.url);
const { MongoClient } = require('mongodb');

if (!env.ME_CONFIG_MONGODB_URL && !env.ME_CONFIG_MONGODB_URL_FILE) {
  const user = env.ME_CONFIG_MONGODB_ADMINUSERNAME;
  const parts = [user, env.ME_CONFIG_MONGODB_ADMINPASSWORD ?? ''].map((part) => encodeURIComponent(part ?? ''));
  const host = `${env.ME_CONFIG_MONGODB_SERVER || 'mongo'}:${env.ME_CONFIG_MONGODB_PORT || 27017}`;
  env.ME_CONFIG_MONGODB_URL = `mongodb://${user ? `${parts.join(':')}@` : ''}${host}/`;
}
process.chdir('node_modules/mongo-express');
const { default: config } = await import('./node_modules/mongo-express/config.default.js');

const { connectionString, connectionOptions } = config.mongodb;
const { host } = new URL(connectionString);
const deadline = Date.now() + PATIENCE_MS;
for (;;) {
  const client = new MongoClient(connectionString, { ...connectionOptions, serverSelectionTimeoutMS: 1000 });
  try {
    await client.db('admin').command({ listDatabases: 1, nameOnly: true });
    break;
  } catch (error) {
    console.error(`the database at ${host} does not let us in yet: ${error.message}`);
    if (Date.now() > deadline) {
      process.exit(1);
    }
    await new Promise((resolve) => { setTimeout(resolve, 500); });
  } finally {
    await client.close();
  }
}
process.title = 'mongo-express';
await import('./node_modules/mongo-express/app.js');
